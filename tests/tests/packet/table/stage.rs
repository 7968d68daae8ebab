//! Where rows are played: before the model alone, or before the program with the model as its judge.

use std::net::SocketAddr;

use lb_common::outcome::{Fate, Outcome};

use crate::{
    model::{DROP, Expected, Got, Key, Model, PASS, REDIRECT, TX},
    rig::{Rig, Verdict},
    table::expect,
    wire::{Frame, frame::BACKEND_MAC, read, tcp, udp},
    world::{Change, World, lanes::Lane, standard::INGRESS},
};

pub struct Stage {
    program: Option<Rig>,
    pub model: Model,
    /// Whether no packet may go the short way.
    pub goes_long: bool,
    /// What is being played, for those who read a failure.
    pub playing: String,
}

/// What a backend got.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub backend: u32,
    pub frame: Frame,
}

impl Stage {
    pub fn of_model(world: World) -> Self {
        Self {
            program: None,
            goes_long: false,
            model: Model::new(world),
            playing: String::new(),
        }
    }

    pub fn of_program(rig: Rig) -> Self {
        Self {
            model: Model::new(rig.world.clone()),
            program: Some(rig),
            goes_long: false,
            playing: String::new(),
        }
    }

    pub fn world(&self) -> &World {
        self.model.world()
    }

    /// An empty stage for the next row.
    pub fn clear(&mut self, playing: String) {
        self.playing = playing;
        self.model.forget();
        if let Some(rig) = &mut self.program {
            rig.forget().unwrap();
        }
    }

    /// Changes the state of a backend.
    pub fn set(&mut self, backend: u32, state: lb_common::backend::BackendState) {
        self.model.set(backend, state);
        if let Some(rig) = &mut self.program {
            rig.set(backend, state);
        }
    }

    /// Changes all slots of a service.
    pub fn change(&mut self, service: u32, change: Change) {
        self.model.change(service, change);
        if let Some(rig) = &mut self.program {
            rig.change(service, change).unwrap();
        }
    }

    /// What is written down is what the model expects to be; the difference, where it is not.
    pub fn compare_written(&self) -> Result<(), String> {
        let Some(rig) = &self.program else { return Ok(()) };
        for (hash, wanted) in self.model.written() {
            let got = rig.written_for(hash);
            if got.map(|got| (got.backend(), got.state())) != Some((wanted.backend, wanted.state)) {
                return Err(format!("written down {got:?} instead of {wanted:?}"));
            }
        }
        let (got, wanted) = (rig.written().count(), self.model.written().count());
        if got == wanted {
            Ok(())
        } else {
            Err(format!("{got} flows are written down instead of {wanted}"))
        }
    }

    /// Sends a frame; what the program makes of it is what the model expects.
    pub fn run(&mut self, sent: &[u8]) -> Verdict {
        match self.compare(sent) {
            Ok(got) => got,
            Err(difference) => panic!("{}: the model disagrees\n{difference}", self.playing),
        }
    }

    /// Sends a frame; the difference, where the program makes of it what the model does not expect.
    pub fn compare(&mut self, sent: &[u8]) -> Result<Verdict, String> {
        let Some(rig) = &mut self.program else {
            let got: Verdict = self.model.judge(sent, None).into();
            return stays_whole(sent, &got).map(|()| got);
        };
        if self.goes_long {
            rig.go_long().unwrap();
        }
        let got = rig.run(sent).unwrap();
        if self.goes_long {
            rig.go_short();
        }
        let source = |key: &Key| rig.source(key);
        let choices = Got {
            frame: &got.frame,
            source: &source,
        };
        let wanted = self.model.judge(sent, Some(&choices)).into();
        if got != wanted {
            return Err(difference(sent, &got, &wanted));
        }
        stays_whole(sent, &got).map(|()| got)
    }

    /// A frame that passes or is dropped, with not one byte changed.
    pub fn stays(&mut self, sent: &[u8], outcome: Outcome) {
        let got = self.run(sent);
        let action = match outcome.fate() {
            Fate::Pass => PASS,
            _ => DROP,
        };
        let wanted = Verdict {
            action,
            outcome,
            frame: sent.to_vec(),
        };
        assert!(
            got == wanted,
            "{}\n{}",
            self.playing,
            difference(sent, &got, &wanted)
        );
    }

    /// A frame that leaves by the interface it came by, as this one.
    pub fn answers(&mut self, sent: &Frame, outcome: Outcome, expected: &Frame) {
        let got = self.run(&sent.bytes());
        let wanted = Verdict {
            action: TX,
            outcome,
            frame: expected.bytes(),
        };
        assert!(
            got == wanted,
            "{}\n{}",
            self.playing,
            difference(&sent.bytes(), &got, &wanted)
        );
    }

    /// A client's packet that is sent on to one of a service's backends, in the service's way.
    pub fn forwards(&mut self, service: u32, sent: &Frame) -> Arrived {
        self.forwards_as(service, sent, &sent.bytes(), |world, backend, source| {
            expect::forwarded(world, sent, backend, source)
        })
    }

    /// One of the two fragments of a client's packet, cut at `at`.
    pub fn forwards_piece(&mut self, service: u32, whole: &Frame, at: u16, first: bool) -> Arrived {
        let of = |(head, tail): (Frame, Frame)| if first { head } else { tail };
        let translates = self.world().service(service).mode.translates();
        let sent = of(whole.cut(at));
        self.forwards_as(service, whole, &sent.bytes(), |world, backend, source| {
            if translates {
                of(expect::forwarded(world, whole, backend, source).cut(at))
            } else {
                expect::forwarded(world, &sent, backend, source)
            }
        })
    }

    fn forwards_as(
        &mut self,
        service: u32,
        whole: &Frame,
        sent: &[u8],
        expected: impl Fn(&World, u32, Option<SocketAddr>) -> Frame,
    ) -> Arrived {
        let got = self.run(sent);
        let frame = read::frame(&got.frame).unwrap_or_else(|wrong| {
            panic!("{}: {wrong} in {got:02x?}", self.playing);
        });
        let source = self.hidden_source(whole);
        let world = self.world();
        let backends = (1..)
            .zip(&world.backends)
            .filter(|(_, backend)| backend.service == service);
        let candidates: Vec<_> = backends
            .map(|(id, _)| (id, expect::settled(expected(world, id, source))))
            .collect();
        let settled = expect::settled(frame.clone());
        let Some(&(backend, _)) = candidates.iter().find(|(_, candidate)| *candidate == settled) else {
            panic!(
                "{}\n got {settled:?}\nwant {:?} or so",
                self.playing, candidates[0].1
            );
        };
        let way = &world.ways[world.backend(backend).way as usize - 1];
        let action = if way.ifindex == INGRESS { TX } else { REDIRECT };
        assert_eq!(
            (got.action, got.outcome),
            (action, Outcome::Forwarded),
            "{}",
            self.playing
        );
        Arrived { backend, frame }
    }

    /// The source that the backend sees instead of the client.
    fn hidden_source(&self, sent: &Frame) -> Option<SocketAddr> {
        let protocol = sent.ip.body.protocol(sent.ip.is_v4());
        let key = Key::between(
            (sent.source().ip(), sent.source().port()),
            (sent.destination().ip(), sent.destination().port()),
            protocol,
        );
        self.model.flow(&key).and_then(|flow| flow.source)
    }

    /// A backend's packet that is sent on to its client, with the VIP as its source.
    pub fn returns(&mut self, lane: &Lane, sent: &Frame, client: SocketAddr, vip_port: u16) {
        let mut expected = sent.clone();
        (expected.to, expected.from) = (crate::wire::frame::CLIENT_MAC, crate::wire::frame::LB_MAC);
        (expected.ip.from, expected.ip.to) = (lane.vip, client.ip());
        expected.ip.ttl -= 1;
        if let Some((from, to)) = expected.ip.body.ports_mut() {
            (*from, *to) = (vip_port, client.port());
        }
        self.answers(sent, Outcome::Returned, &expected);
    }
}

/// A frame that came whole leaves whole: the reader judges its checksums, also where it was only translated.
fn stays_whole(sent: &[u8], got: &Verdict) -> Result<(), String> {
    if got.outcome.fate() != Fate::Send || read::frame(sent).is_err() {
        return Ok(());
    }
    match read::frame(&got.frame) {
        Ok(_) => Ok(()),
        Err(wrong) => Err(format!(
            "{wrong} in what came out\n{}",
            difference(sent, got, got)
        )),
    }
}

impl From<Expected> for Verdict {
    fn from(expected: Expected) -> Self {
        Self {
            action: expected.action,
            outcome: expected.outcome,
            frame: expected.frame,
        }
    }
}

impl Arrived {
    /// The backend's answer.
    pub fn reply(&self, flags: u8) -> Frame {
        let (from, to) = (self.frame.destination(), self.frame.source());
        let mut reply = if matches!(self.frame.ip.body, crate::wire::Body::Udp { .. }) {
            udp(from, to, b"an answer")
        } else {
            tcp(from, to, flags)
        };
        reply.from = BACKEND_MAC;
        reply
    }
}

/// What was sent, what came, and what should have come.
pub fn difference(sent: &[u8], got: &Verdict, wanted: &Verdict) -> String {
    let show = |verdict: &Verdict| {
        let read = read::frame(&verdict.frame);
        let hex = hex(&verdict.frame);
        format!(
            "{:?} by {}: {read:?}\n      {hex}",
            verdict.outcome, verdict.action
        )
    };
    format!("sent  {}\ngot   {}\nwant  {}", hex(sent), show(got), show(wanted))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
