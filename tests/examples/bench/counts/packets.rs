//! What packets cost: instructions of the program as it is built, calls of helpers, and lookups in maps.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use aya::{maps::MapInfo, programs::ProgramInfo};
use aya_obj::{Object, generated::bpf_insn};
use lb_common::{flow::Protocol, limits, maps};
use xlb::datapath::load::{self, Capacity};

use super::{
    machine::{Machine, Tally},
    number::{By, Number},
    places::{Places, Share},
    statistics,
};
use crate::{
    alone,
    balancer::{Balancer, Features},
    program::case::{Case, Kind, Subject},
    sys::action,
};

/// The program in the kernel, with a service for each case.
pub struct Subjects {
    balancer: Balancer,
    linked: Linked,
    /// The one that this thread stays on: programs do what they do by it.
    cpu: usize,
}

/// The instructions of the loaded program, with its maps in place.
struct Linked {
    code: Vec<bpf_insn>,
    functions: Places,
    lines: Places,
    /// Of maps: what the code has for them, and their ids.
    descriptors: Vec<(i32, u32)>,
}

impl Subjects {
    pub fn load() -> Result<Self> {
        let capacity = Capacity {
            flows: limits::FLOWS / 64,
            backends: 8192,
            services: 128,
            written: limits::WRITTEN / 64,
        };
        let mut balancer = Balancer::load(capacity, Features::Plain)?;
        for (id, served) in (1..).zip(Case::services()) {
            balancer.serve(id, &served)?;
        }
        let linked = Linked::of(&balancer.info()?)?;
        Ok(Self {
            balancer,
            linked,
            cpu: alone::stay_on_one_cpu()?,
        })
    }

    /// The counts of a packet of each standard case.
    pub fn numbers(&mut self) -> Result<Vec<Number>> {
        let mut numbers = Vec::new();
        for case in Case::all().into_iter().filter(|case| is_standard(*case)) {
            let (tally, _) = self.cost(case).with_context(|| case.to_string())?;
            numbers.extend(of(case, tally));
        }
        Ok(numbers)
    }

    /// The functions that a packet's instructions are in, and the lines that they come from.
    pub fn profile(&mut self, case: Case) -> Result<[Vec<Share>; 2]> {
        let (_, machine) = self.cost(case).with_context(|| case.to_string())?;
        let Linked { functions, lines, .. } = &self.linked;
        Ok([functions, lines].map(|places| places.shares(machine.runs())))
    }

    /// What a packet costs that comes when others have opened and confirmed its flow; one that opens it is the first.
    fn cost(&mut self, case: Case) -> Result<(Tally, Machine)> {
        let translates = case.subject != Subject::Pass { translates: false };
        self.balancer.translate(translates);
        let descriptors = self.linked.descriptors.iter().copied();
        let mut machine = Machine::new(self.linked.code.clone(), descriptors, self.cpu)?;
        let [opener, frame] = packets(case);
        if !case.is_new() {
            machine.run(&opener)?;
            machine.run(&opener)?;
        }
        let (done, tally) = machine.run(&frame)?;
        ensure!(
            done == case.action(),
            "the packet ended in {}",
            action::name(done)
        );
        self.compare(case, &machine)?;
        Ok((tally, machine))
    }

    /// The kernel must make the same of the packet.
    fn compare(&mut self, case: Case, machine: &Machine) -> Result<()> {
        let [opener, frame] = packets(case);
        if !case.is_new() {
            self.balancer.run_once(&opener)?;
        }
        let (done, frame) = self.balancer.run_once(&frame)?;
        ensure!(
            done == case.action() && frame == machine.frame(),
            "the kernel and the interpreter disagree: {} and {:02x?}, not {:02x?}",
            action::name(done),
            frame,
            machine.frame()
        );
        Ok(())
    }
}

/// The packets that open a flow, and that are counted. Each case has a flow of its own: the kernel remembers those of the others.
fn packets(case: Case) -> [Vec<u8>; 2] {
    let flow = Case::all().iter().position(|known| *known == case).unwrap_or(0);
    let flow = u32::try_from(flow).unwrap_or(0);
    [case.opener(), case.frame()].map(|frame| frame.of_flow(flow))
}

fn is_standard(case: Case) -> bool {
    let is_standard = match case.subject {
        Subject::Client { kind, .. } => matches!(kind, Kind::Settled | Kind::New | Kind::Written),
        Subject::Pass { .. } | Subject::Error { .. } => true,
        Subject::TooBig | Subject::All => false,
    };
    is_standard && case.protocol == Protocol::Tcp
}

fn of(case: Case, tally: Tally) -> [Number; 3] {
    let of = |what: &str, unit, count| Number {
        name: format!("{case}/{what}"),
        unit,
        count,
        by: By::Compiler,
    };
    [
        of("instructions", "insns", tally.instructions),
        of("helpers", "calls", tally.helpers),
        of("lookups", "calls", tally.lookups),
    ]
}

impl Linked {
    fn of(info: &ProgramInfo) -> Result<Self> {
        let mut object = Object::parse(load::OBJECT).context("read the BPF object")?;
        let names = statistics::names(&object);
        let fds = statistics::maps(info)?;
        statistics::link(&mut object, &fds)?;
        let program = object
            .programs
            .get(maps::PROGRAM)
            .context("the BPF object has no program")?;
        let function = &object.functions[&program.function_key()];
        let mut descriptors = Vec::new();
        for id in info.map_ids()?.context("the kernel names no maps")? {
            let map = MapInfo::from_id(id)?;
            let name = map.name_as_str().context("a map has no name")?;
            let fd = fds.get(name).context("a map that came and went")?;
            descriptors.push((fd.as_fd().as_raw_fd(), id));
        }
        Ok(Self {
            code: function.instructions.clone(),
            functions: Places::functions(function, &names),
            lines: Places::lines(&object, function),
            descriptors,
        })
    }
}
