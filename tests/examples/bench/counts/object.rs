//! The programs as they are built: every function that can be called from the entry.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use aya_obj::{
    Object,
    generated::{BPF_CALL, BPF_JMP, bpf_insn},
};
use lb_common::{decap, maps};
use xlb::{datapath::load, decap::program};

use super::number::{By, Number};

/// `bpf_map_lookup_elem`, by the number of include/uapi/linux/bpf.h.
const MAP_LOOKUP: i32 = 1;

/// The counts of all programs.
pub fn numbers() -> Result<Vec<Number>> {
    let programs = [
        (load::OBJECT, maps::PROGRAM),
        (load::OBJECT, maps::FRAGS_PROGRAM),
        (program::OBJECT, decap::PROGRAM),
        (program::OBJECT, decap::FRAGS_PROGRAM),
    ];
    let mut numbers = Vec::new();
    for (object, name) in programs {
        let instructions = linked(object, name).with_context(|| format!("link {name}"))?;
        numbers.extend(of(name, &instructions));
    }
    Ok(numbers)
}

/// A program with the functions that it calls.
fn linked(object: &[u8], name: &str) -> Result<Vec<bpf_insn>> {
    let mut object = Object::parse(object).context("read the BPF object")?;
    let sections: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
    object
        .relocate_calls(&sections)
        .context("put the functions into the program")?;
    let program = object
        .programs
        .get(name)
        .context("the BPF object does not have it")?;
    let function = object
        .functions
        .get(&program.function_key())
        .context("it has no instructions")?;
    Ok(function.instructions.clone())
}

fn of(program: &str, instructions: &[bpf_insn]) -> [Number; 3] {
    let helpers: Vec<i32> = instructions.iter().filter_map(helper).collect();
    let lookups = helpers.iter().filter(|&&helper| helper == MAP_LOOKUP).count();
    let of = |what: &str, unit, count: usize| Number {
        name: format!("{program}/{what}"),
        unit,
        count: count as u64,
        by: By::Compiler,
    };
    [
        of("built", "insns", instructions.len()),
        of("helper-calls", "calls", helpers.len()),
        of("map-lookups", "calls", lookups),
    ]
}

/// The number of the helper that an instruction calls.
fn helper(instruction: &bpf_insn) -> Option<i32> {
    let is_call = u32::from(instruction.code) == BPF_JMP | BPF_CALL && instruction.src_reg() == 0;
    is_call.then_some(instruction.imm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_are_some_of_the_helpers_and_calls_of_functions_are_none() {
        let call = |source, imm| {
            let mut instruction = bpf_insn {
                code: 0x85,
                _bitfield_align_1: [],
                _bitfield_1: bpf_insn::new_bitfield_1(0, source),
                off: 0,
                imm,
            };
            instruction.set_src_reg(source);
            instruction
        };
        let numbers = of("xlb", &[call(0, 1), call(0, 44), call(1, 100), call(0, 1)]);
        assert_eq!(numbers.map(|number| number.count), [4, 3, 2]);
    }
}
