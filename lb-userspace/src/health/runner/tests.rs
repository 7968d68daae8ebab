//! Runners against real sockets on loopback.

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn job(spec: CheckSpec, target: SocketAddr, course: Course) -> Job<u32> {
    Job {
        key: 1,
        check: 0,
        spec,
        target,
        who: Who::default(),
        course,
        stalls: Stalls::default(),
    }
}

fn each(interval: Duration, kind: CheckKind) -> CheckSpec {
    CheckSpec {
        interval,
        ..CheckSpec::new(kind)
    }
}

async fn next(rx: &mut mpsc::Receiver<Observation<u32>>) -> Observation<u32> {
    tokio::time::timeout(LONG, rx.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn where_there_is_no_way_each_probe_fails_by_that() {
    for kind in [CheckKind::TCP, CheckKind::TcpHold] {
        let (tx, mut rx) = mpsc::channel(8);
        let nowhere = Course::Nowhere(ProbeError::silence("no way to it"));
        let spec = each(Duration::from_millis(10), kind);
        let _running = spawn(job(spec, "192.0.2.1:80".parse().unwrap(), nowhere), tx);
        for _ in 0..3 {
            let error = next(&mut rx).await.result.unwrap_err();
            assert_eq!(error, ProbeError::silence("no way to it"));
        }
    }
}
