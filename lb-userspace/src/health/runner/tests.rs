//! Runners against real sockets on loopback.

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

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

#[tokio::test]
async fn who_is_suspected_has_to_take_another_connection() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = server.local_addr().unwrap();
    let (tx, mut rx) = mpsc::channel(8);
    // But for what is suspected nothing would be told for an hour.
    let spec = CheckSpec {
        fast_interval: Some(Duration::from_millis(10)),
        timeout: LONG,
        ..each(Duration::from_secs(3600), CheckKind::TcpHold)
    };
    let running = spawn(job(spec, target, Course::Direct), tx);
    let (mut kept, _) = server.accept().await.unwrap();
    let said = |seen: Observation<u32>| seen.result.map(|answer| answer.said.unwrap());
    assert_eq!(said(next(&mut rx).await).unwrap(), "connected");

    running.now();
    assert_eq!(said(next(&mut rx).await).unwrap(), "takes another connection");
    let (mut second, _) = server.accept().await.unwrap();
    assert!(ended(&mut second).await);

    // Nobody listens any more, and what is connected still is.
    drop(server);
    running.now();
    running.hurry(true);
    for _ in 0..3 {
        let error = said(next(&mut rx).await).unwrap_err();
        assert!(error.is_refusal(), "{error}");
    }
    assert!(ended(&mut kept).await);
}

async fn ended(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(LONG, stream.read(&mut [0; 1]))
        .await
        .unwrap();
    matches!(read, Ok(0) | Err(_))
}

#[tokio::test]
async fn that_a_check_cannot_be_made_is_told_once_for_each_reason() {
    let (tx, mut rx) = mpsc::channel(64);
    let spec = each(Duration::from_millis(10), CheckKind::TCP);
    let (fall, target) = (spec.fall, "192.0.2.1:80".parse().unwrap());
    let mut runner = Runner {
        number: 0,
        excused: 0,
        unasked: 0,
        told_unasked: None,
        is_spread: false,
        draw: 0,
        job: job(spec, target, Course::Direct),
        tx,
        pace: Arc::default(),
    };
    let mut told = async |why: Option<&str>| {
        let result = why.map_or_else(|| Ok(Answer::default()), |why| Err(ProbeError::ours(why)));
        assert!(runner.tell(result, Instant::now()).await.is_ok());
        rx.try_recv()
            .ok()
            .map(|seen| seen.result.map_err(|error| error.to_string()))
    };
    let no = |why: &str| Some(Err(why.to_owned()));
    // For as long as no failure would be believed it may be for a moment only.
    for _ in 1..fall {
        assert_eq!(told(Some("no port")).await, None);
    }
    assert_eq!(told(Some("no port")).await, no("no port"));
    for _ in 0..9 {
        assert_eq!(told(Some("no port")).await, None);
    }
    assert_eq!(told(Some("no descriptor")).await, no("no descriptor"));
    assert_eq!(told(None).await, Some(Ok(Answer::default())));
    assert_eq!(told(Some("no port")).await, None);
}
