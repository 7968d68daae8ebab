//! What the verifier says of a program that it takes.
//!
//! It says so in its log alone, which aya asks for only when a program is refused. So a program that aya has loaded is loaded once
//! more here: the same instructions, on the same maps.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    maps::{MapFd, MapInfo},
    programs::ProgramInfo,
};
use aya_obj::{
    Object,
    btf::BtfKind,
    generated::{
        BPF_CALL, BPF_F_XDP_HAS_FRAGS, BPF_JMP, BPF_PSEUDO_CALL, bpf_attach_type, bpf_cmd, bpf_func_info,
        bpf_insn, bpf_prog_info, bpf_prog_type,
    },
};

use super::stack::Function;
use crate::syscall::{bpf, empty};

/// Statistics alone (`BPF_LOG_STATS` in include/linux/bpf_verifier.h).
const STATISTICS: u32 = 4;
/// Statistics are a few lines, with a number for each function.
const LOG_ROOM: usize = 1 << 16;
/// What the kernel keeps of a map's name (`BPF_OBJ_NAME_LEN`, with the end).
const NAME_LEN: usize = 15;

pub struct Statistics {
    pub functions: Vec<Function>,
    pub log: String,
}

/// Loads `program` of `object` again, which `info` says how it was loaded.
pub fn of(object: &[u8], program: &str, frags: bool, info: &ProgramInfo) -> Result<Statistics> {
    let mut object = Object::parse(object).context("read the BPF object")?;
    let names = names(&object);
    // Open until the program is loaded.
    let maps = maps(info)?;
    link(&mut object, &maps)?;
    let found = object
        .programs
        .get(program)
        .with_context(|| format!("the BPF object has no program {program}"))?;
    let linked = &object.functions[&found.function_key()];
    let (loaded, log) = load(&found.license, linked, frags, info)?;
    let kept = kept(&loaded, linked.func_info.len())?;
    Ok(Statistics {
        functions: functions(linked, &names, &kept),
        log,
    })
}

/// What the types of functions are called.
pub fn names(object: &Object) -> HashMap<u32, String> {
    let Some(btf) = &object.btf else {
        return HashMap::new();
    };
    let named = object.functions.values().filter_map(|function| {
        let id = btf.id_by_type_name_kind(&function.name, BtfKind::Func).ok()?;
        Some((id, function.name.clone()))
    });
    named.collect()
}

/// The maps of the loaded program, by the names that the kernel has cut to its length.
pub fn maps(info: &ProgramInfo) -> Result<HashMap<String, MapFd>> {
    let ids = info.map_ids()?.context("the kernel names no maps")?;
    let named = ids.into_iter().map(|id| {
        let map = MapInfo::from_id(id)?;
        let name = map.name_as_str().context("a map has no name")?;
        Ok((name.to_owned(), map.fd()?))
    });
    named.collect()
}

/// Puts maps, and the functions that are called, into the instructions.
pub fn link(object: &mut Object, fds: &HashMap<String, MapFd>) -> Result<()> {
    let maps = std::mem::take(&mut object.maps);
    // A map that only programs use which were not loaded is not there.
    let there = maps.iter().filter_map(|(name, map)| {
        let fd = fds.get(name.get(..NAME_LEN).unwrap_or(name))?;
        Some((name.as_str(), fd.as_fd().as_raw_fd(), map))
    });
    let sections: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
    object
        .relocate_maps(there, &sections)
        .context("put the maps into the program")?;
    object
        .relocate_calls(&sections)
        .context("put the functions into the program")
}

/// The functions of a linked program that the verifier has `kept`, in the order of their instructions.
fn functions(linked: &aya_obj::Function, names: &HashMap<u32, String>, kept: &HashSet<u32>) -> Vec<Function> {
    let mut functions: Vec<Function> = linked
        .func_info
        .func_info
        .iter()
        .map(|info| Function {
            name: match names.get(&info.type_id) {
                Some(name) => name.clone(),
                None => format!("function at {}", info.insn_off),
            },
            is_kept: kept.contains(&info.type_id),
            start: info.insn_off as usize,
            calls: Vec::new(),
        })
        .collect();
    functions.sort_by_key(|function| function.start);
    let starts: Vec<usize> = functions.iter().map(|function| function.start).collect();
    for (at, instruction) in linked.instructions.iter().enumerate() {
        let callee = target(at, instruction).and_then(|start| starts.binary_search(&start).ok());
        let caller = starts.partition_point(|&start| start <= at).checked_sub(1);
        if let (Some(caller), Some(callee)) = (caller, callee)
            && !functions[caller].calls.contains(&callee)
        {
            functions[caller].calls.push(callee);
        }
    }
    functions
}

/// Where a call of a function of the program goes.
fn target(at: usize, instruction: &bpf_insn) -> Option<usize> {
    let is_call = u32::from(instruction.code) == BPF_JMP | BPF_CALL
        && u32::from(instruction.src_reg()) == BPF_PSEUDO_CALL;
    let distance = isize::try_from(instruction.imm).ok()?;
    is_call.then(|| at.checked_add_signed(distance + 1)).flatten()
}

/// The types of the functions that are in the loaded program: the verifier removes those that nothing calls, and counts the
/// others.
#[expect(
    clippy::cast_possible_truncation,
    reason = "counts of functions and sizes of records"
)]
#[expect(clippy::cast_sign_loss, reason = "file descriptors that are open")]
fn kept(program: &OwnedFd, most: usize) -> Result<HashSet<u32>> {
    let mut records = vec![
        bpf_func_info {
            insn_off: 0,
            type_id: 0
        };
        most
    ];
    // SAFETY: a structure of integers, of which zero is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info.func_info = records.as_mut_ptr() as u64;
    info.func_info_rec_size = size_of::<bpf_func_info>() as u32;
    info.nr_func_info = most as u32;
    let mut attr = empty();
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = &raw mut info as u64;
    // SAFETY: `info` and the records that it points to live until the call has returned, with the lengths that they say.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.context("ask for the program's functions")?;
    records.truncate(info.nr_func_info as usize);
    Ok(records.into_iter().map(|record| record.type_id).collect())
}

/// Loads the instructions; gives the program and the verifier's log.
#[expect(
    clippy::cast_possible_truncation,
    reason = "counts of instructions and sizes of records"
)]
#[expect(clippy::cast_sign_loss, reason = "file descriptors that are open")]
fn load(
    license: &std::ffi::CStr,
    linked: &aya_obj::Function,
    frags: bool,
    info: &ProgramInfo,
) -> Result<(OwnedFd, String)> {
    let btf = btf(info.btf_id().context("the program has no BTF")?)?;
    let records = linked.func_info.func_info_bytes();
    let mut log = vec![0_u8; LOG_ROOM];
    let mut attr = empty();
    // SAFETY: all bytes of it are zero, which is a value of each of its fields.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
    load.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
    load.prog_flags = if frags { BPF_F_XDP_HAS_FRAGS } else { 0 };
    load.insns = linked.instructions.as_ptr() as u64;
    load.insn_cnt = linked.instructions.len() as u32;
    load.license = license.as_ptr() as u64;
    load.prog_btf_fd = btf.as_raw_fd() as u32;
    load.func_info = records.as_ptr() as u64;
    load.func_info_cnt = linked.func_info.len() as u32;
    load.func_info_rec_size = linked.func_info_rec_size as u32;
    (load.log_level, load.log_size) = (STATISTICS, log.len() as u32);
    load.log_buf = log.as_mut_ptr() as u64;
    // SAFETY: what the attributes point to lives until the call has returned, with the lengths that they say.
    let loaded = unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) };
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]).into_owned();
    let loaded = loaded.with_context(|| format!("load the program once more: {log}"))?;
    // SAFETY: the kernel has just opened it for us.
    Ok((unsafe { OwnedFd::from_raw_fd(loaded) }, log))
}

/// The types that the loaded program came with.
fn btf(id: u32) -> Result<OwnedFd> {
    let mut attr = empty();
    attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
    // SAFETY: the attributes point to nothing.
    let btf = unsafe { bpf(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr) };
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(btf.context("open the program's BTF")?) })
}
