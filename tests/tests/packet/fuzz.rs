//! Any bytes at all: the program never loses a frame's integrity, whatever comes.

use std::cell::{Cell, RefCell};

use anyhow::Result;
use lb_common::outcome::{Fate, Outcome};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use xlb_tests::preflight;

use crate::{
    frames::{ACK, SYN, parse, tcp, udp},
    nat::{CLIENT, DNS, WEB},
    rig::{DROP, PASS, Rig, TX},
};

const CASES: u32 = 4000;

/// A frame for a service with some of its bytes replaced, possibly cut short or grown.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(vec![
        tcp((CLIENT, 4000), WEB, SYN),
        tcp((CLIENT, 4001), WEB, ACK),
        udp((CLIENT, 4000), DNS, b"question"),
    ]);
    let damage = prop::collection::vec((0_usize..90, any::<u8>()), 0..4);
    (whole, damage, 14_usize..120).prop_map(|(mut frame, damage, len)| {
        for (at, byte) in damage {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        // Half of the lengths leave the frame whole.
        if len < frame.len() {
            frame.truncate(len);
        }
        frame
    })
}

#[test]
fn what_is_not_sent_is_not_changed_and_what_is_sent_is_whole() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let rig = RefCell::new(Rig::new()?);
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let sent_on = Cell::new(0_u32);
    runner.run(&damaged(), |frame| {
        let got = rig.borrow_mut().run(&frame).unwrap();
        match got.outcome.fate() {
            Fate::Pass => prop_assert_eq!((got.action, &got.frame), (PASS, &frame)),
            Fate::Drop => prop_assert_eq!((got.action, &got.frame), (DROP, &frame)),
            Fate::Send => {
                prop_assert_eq!(got.action, TX);
                prop_assert_eq!(got.frame.len(), frame.len());
                sent_on.set(sent_on.get() + 1);
                // A frame that came whole leaves whole: its checksums are judged by the parser.
                if std::panic::catch_unwind(|| parse(&frame)).is_ok() {
                    parse(&got.frame);
                    prop_assert_eq!(got.outcome, Outcome::Forwarded);
                }
            }
        }
        Ok(())
    })?;
    let sent_on = sent_on.get();
    assert!(
        sent_on > CASES / 20,
        "only {sent_on} of {CASES} were sent on: the test has lost its aim"
    );
    Ok(())
}
