//! Congestion that routers between balancer and backend mark on the outer header (RFC 6040 §4.2).

use anyhow::Result;
use lb_common::decap::Decap;
use xlb_tests::preflight;

use crate::{
    frames::{IP4, IP6, VIP4, VIP6, frame, header4, over6_as, packet4, packet6, with_header4},
    rig::Rig,
};

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;
/// Above the ECN bits: expedited forwarding, which differs from the outer header's and has to stay.
const DSCP: u8 = 0xb8;

/// Outer and inner bits, and those that come out.
const ROWS: [(u8, u8, Option<u8>); 16] = [
    (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
    (ECT_0, NOT_ECT, Some(NOT_ECT)),
    (ECT_1, NOT_ECT, Some(NOT_ECT)),
    (CE, NOT_ECT, None),
    (NOT_ECT, ECT_0, Some(ECT_0)),
    (ECT_0, ECT_0, Some(ECT_0)),
    (ECT_1, ECT_0, Some(ECT_1)),
    (CE, ECT_0, Some(CE)),
    (NOT_ECT, ECT_1, Some(ECT_1)),
    (ECT_0, ECT_1, Some(ECT_1)),
    (ECT_1, ECT_1, Some(ECT_1)),
    (CE, ECT_1, Some(CE)),
    (NOT_ECT, CE, Some(CE)),
    (ECT_0, CE, Some(CE)),
    (ECT_1, CE, Some(CE)),
    (CE, CE, Some(CE)),
];

#[test]
fn every_pair_of_marks_comes_out_as_rfc_6040_has_it() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let four = |ecn| packet4(VIP4, DSCP | ecn);
    let six = |ecn| packet6(VIP6, DSCP | ecn);
    let over4 = |protocol, inner: &[u8], ecn: u8| {
        let mut header = header4(protocol, inner);
        header.ecn = ecn.try_into().unwrap();
        with_header4(header, inner)
    };
    for (outer, inner, expected) in ROWS {
        let what = format!("outer {outer:02b}, inner {inner:02b}");
        let tunnels = [
            (over4(IP4, &four(inner), outer), expected.map(four)),
            (over4(IP6, &six(inner), outer), expected.map(six)),
            (over6_as(IP4, &four(inner), outer), expected.map(four)),
            (over6_as(IP6, &six(inner), outer), expected.map(six)),
        ];
        for (tunnel, expected) in tunnels {
            // The packets expected have been built with checksums of their own.
            match expected {
                Some(packet) => rig.takes(&what, &frame(&[], &tunnel), &frame(&[], &packet)),
                None => rig.leaves(&what, &frame(&[], &tunnel), Decap::Congested),
            }
        }
    }
    Ok(())
}
