//! Single operations, many of them in a program: they explain where the time of a packet goes.

use std::os::fd::AsRawFd as _;

use anyhow::{Result, bail};
use aya_obj::generated::bpf_map_type::{
    self, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY,
    BPF_MAP_TYPE_PROG_ARRAY,
};

use super::case;
use crate::{
    alone::Alone,
    bases::{Base, XDP_ADJUST_HEAD},
    frame::{self, Frame},
    report::{Row, Samples},
    rounds::Rounds,
    sys::{Instruction, Linkage, Map, Program, action},
    wrapper::{Flows, Target, Wrapper},
};

/// Of an operation in one program.
const TIMES: i16 = 16;
/// Programs that call each other.
const CHAIN: usize = 8;
const MANY: u32 = 100_000;
/// As long as a flow's.
const KEY: usize = 40;
const VALUE: u32 = 64;
/// Helpers, by the numbers of include/uapi/linux/bpf.h.
const MAP_LOOKUP: i32 = 1;
const CLOCK: i32 = 5;
const PRANDOM: i32 = 7;
const TAIL_CALL: i32 = 12;
const COARSE_CLOCK: i32 = 160;
/// Registers that keep their values over calls, and the one that leads to the stack.
const CONTEXT: u8 = 6;
const STACK: u8 = 10;
/// Where keys are on the stack.
const AT: i16 = -40;

/// An operation, as a program that does it so often, and one that is the same without.
struct Operation {
    name: &'static str,
    entries: u32,
    times: f64,
    with: Program,
    without: Program,
    /// What the program needs as long as it runs.
    _programs: Vec<(Program, Map)>,
}

/// Measures each beside the program without it, and gives the rows to `add` as they come.
pub fn measure(rounds: &Rounds, on: &Alone, mut add: impl FnMut(Row)) -> Result<()> {
    let frame = frame::tcp((case::stranger(true), 80), frame::ACK, 0);
    add(row(&chain()?, &frame, rounds, on)?);
    let helpers = [
        ("op/coarse-clock", COARSE_CLOCK),
        ("op/clock", CLOCK),
        ("op/prandom", PRANDOM),
    ];
    for (name, helper) in helpers {
        add(row(
            &repeated(name, &[Instruction::call(helper)])?,
            &frame,
            rounds,
            on,
        )?);
    }
    add(row(&function_call()?, &frame, rounds, on)?);
    let there_and_back = [-8, 8].map(|by| {
        [
            Instruction::copy(1, CONTEXT),
            Instruction::set(2, by),
            Instruction::call(XDP_ADJUST_HEAD),
        ]
    });
    let moves = Operation {
        times: f64::from(TIMES) * 2.0,
        ..repeated("op/head-move", there_and_back.as_flattened())?
    };
    add(row(&moves, &frame, rounds, on)?);
    let maps = [
        ("op/array-lookup", BPF_MAP_TYPE_ARRAY),
        ("op/per-cpu-array-lookup", BPF_MAP_TYPE_PERCPU_ARRAY),
        ("op/hash-lookup", BPF_MAP_TYPE_HASH),
        ("op/lru-hash-lookup", BPF_MAP_TYPE_LRU_HASH),
    ];
    for (name, kind) in maps {
        for entries in [1, MANY] {
            add(row(&lookup(name, kind, entries)?, &frame, rounds, on)?);
        }
    }
    Ok(())
}

fn row(operation: &Operation, frame: &Frame, rounds: &Rounds, on: &Alone) -> Result<Row> {
    let wrapper = |program: &Program| {
        let target = Target::new(program.fd(), Linkage::default())?;
        Wrapper::new(frame, Flows::One, &target)
    };
    let (with, without) = (wrapper(&operation.with)?, wrapper(&operation.without)?);
    let [a, b, ..] = on.interfaces[..] else {
        bail!("no interfaces to attach programs to");
    };
    let _attached = [with.attach(a)?, without.attach(b)?];
    let (mut own, mut base) = (Samples::default(), Samples::default());
    for _ in 0..rounds.rounds {
        let without = without.run(rounds.packets)?.nanoseconds;
        base.push(without);
        own.push((with.run(rounds.packets)?.nanoseconds - without) / operation.times);
    }
    let entries = operation.entries.into();
    Ok(Row::new(operation.name, entries, "ns", &own, "without", &base))
}

/// Some instructions, again and again.
fn repeated(name: &'static str, operation: &[Instruction]) -> Result<Operation> {
    let mut code = vec![Instruction::copy(CONTEXT, 1)];
    for _ in 0..TIMES {
        code.extend(operation);
    }
    Ok(Operation {
        name,
        entries: 1,
        times: TIMES.into(),
        with: drops(code)?,
        without: drops(Vec::new())?,
        _programs: Vec::new(),
    })
}

/// A lookup in a map of so many entries, of which each is as likely; of one, always that.
fn lookup(name: &'static str, kind: bpf_map_type, entries: u32) -> Result<Operation> {
    let is_hash = matches!(kind, BPF_MAP_TYPE_HASH | BPF_MAP_TYPE_LRU_HASH);
    let key = if is_hash { KEY } else { 4 };
    let map = Map::new(kind, key, VALUE, entries)?;
    if is_hash {
        for number in 0..entries {
            let mut bytes = [0; KEY];
            bytes[..4].copy_from_slice(&number.to_ne_bytes());
            map.put(&bytes, &[0; VALUE as usize])?;
        }
    }
    let mut choose = Vec::new();
    if entries > 1 {
        choose.extend([
            Instruction::call(PRANDOM),
            Instruction::modulo(0, entries.cast_signed()),
            Instruction::store_u32(STACK, AT, 0),
        ]);
    }
    let mut find = Instruction::map(1, map.fd().as_raw_fd()).to_vec();
    find.extend([
        Instruction::copy(2, STACK),
        Instruction::add(2, AT.into()),
        Instruction::call(MAP_LOOKUP),
        // A value that is not looked at is not fetched.
        Instruction::skip_if_zero(0, 1),
        Instruction::load_u32(0, 0, 0),
    ]);
    let program = |with_lookup: bool| {
        let mut code = vec![Instruction::set(1, 0)];
        code.extend((0..5).map(|word| Instruction::store_u64(STACK, AT + 8 * word, 1)));
        for _ in 0..TIMES {
            code.extend(&choose);
            if with_lookup {
                code.extend(&find);
            }
        }
        drops(code)
    };
    Ok(Operation {
        name,
        entries,
        times: TIMES.into(),
        with: program(true)?,
        without: program(false)?,
        _programs: Vec::new(),
    })
}

/// Calls of a function that does nothing, behind the end of the program.
fn function_call() -> Result<Operation> {
    let mut code: Vec<Instruction> = (1..=TIMES)
        .map(|call| Instruction::call_function((TIMES - call + 2).into()))
        .collect();
    code.extend(Base::Drop.instructions());
    code.extend([Instruction::set(0, 0), Instruction::exit()]);
    Ok(Operation {
        name: "op/function-call",
        entries: 1,
        times: TIMES.into(),
        with: Program::load(&code, "calls of a function", Linkage::default())?,
        without: drops(Vec::new())?,
        _programs: Vec::new(),
    })
}

/// Programs of which each goes on to the next, and the last one drops.
fn chain() -> Result<Operation> {
    let mut next = drops(Vec::new())?;
    let mut programs = Vec::new();
    for _ in 0..CHAIN {
        let array = Map::new(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1)?;
        array.put(&[0; 4], &next.fd().as_raw_fd().to_ne_bytes())?;
        let mut code = Instruction::map(2, array.fd().as_raw_fd()).to_vec();
        code.extend([Instruction::set(3, 0), Instruction::call(TAIL_CALL)]);
        programs.push((std::mem::replace(&mut next, drops(code)?), array));
    }
    #[expect(clippy::cast_precision_loss, reason = "eight")]
    let times = CHAIN as f64;
    Ok(Operation {
        name: "op/tail-call",
        entries: 1,
        times,
        with: next,
        without: drops(Vec::new())?,
        _programs: programs,
    })
}

/// A program that then drops the frame.
fn drops(mut code: Vec<Instruction>) -> Result<Program> {
    code.extend([
        Instruction::set(0, action::DROP.cast_signed()),
        Instruction::exit(),
    ]);
    Program::load(&code, "operation", Linkage::default())
}
