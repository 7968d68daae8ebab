//! Runners against real sockets on loopback.

use futures_util::FutureExt as _;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::{
    super::{probe::turns, results},
    *,
};

const LONG: Duration = Duration::from_secs(60);

fn job(spec: CheckSpec, target: SocketAddr, course: Course) -> Job<u32> {
    Job {
        key: 1,
        check: 0,
        run: 7,
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

/// The next result, and whether it has woken anybody.
async fn heard(rx: &mut results::Receiver<u32>) -> (Observation<u32>, bool) {
    let deadline = Instant::now() + LONG;
    loop {
        let is_news = rx.news().now_or_never().is_some();
        if let Some(one) = rx.try_next() {
            let is_news = is_news || rx.news().now_or_never().is_some();
            return (one, is_news);
        }
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(1)).await;
    }
}

async fn next(rx: &mut results::Receiver<u32>) -> Observation<u32> {
    heard(rx).await.0
}

#[tokio::test]
async fn where_there_is_no_way_each_probe_fails_by_that() {
    for kind in [CheckKind::TCP, CheckKind::TcpHold] {
        let (tx, mut rx) = results::channel(8);
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
    let (tx, mut rx) = results::channel(8);
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
    let (tx, mut rx) = results::channel(64);
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
        rx.try_next()
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

#[tokio::test]
async fn commands_that_hang_fail_also_where_they_are_more_than_turns() {
    let spec = CheckSpec {
        timeout: Duration::from_millis(50),
        ..each(
            Duration::from_millis(100),
            CheckKind::Exec {
                command: ["/bin/sleep", "1000"].map(String::from).to_vec(),
            },
        )
    };
    let backends = 4 * turns::all();
    let (tx, mut rx) = results::channel(8);
    let jobs = (0..backends).map(|key| Job {
        key: u32::try_from(key).unwrap(),
        ..job(spec.clone(), "192.0.2.1:80".parse().unwrap(), Course::Direct)
    });
    let _running: Vec<_> = jobs.map(|job| spawn(job, tx.clone())).collect();
    let mut failed = vec![0; backends];
    while failed.iter().any(|&times| times < spec.fall) {
        let seen = next(&mut rx).await;
        assert_eq!(seen.result, Err(ProbeError::timeout(spec.timeout)));
        failed[seen.key as usize] += 1;
    }
}

#[tokio::test]
async fn another_pass_is_no_news_and_a_failure_always_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = each(Duration::from_millis(100), CheckKind::TCP);
    let target = listener.local_addr().unwrap();
    let (sender, mut results) = results::channel(8);
    let running = spawn(job(spec.clone(), target, Course::Direct), sender);
    let mut next = async || {
        let (one, is_news) = heard(&mut results).await;
        (one.result.is_ok(), is_news)
    };
    assert_eq!(next().await, (true, true), "nothing is known of it");
    running.follow(&Monitor::new(Health::Up, &spec));
    assert_eq!(next().await, (true, false));
    running.follow(&Monitor::remembered(Health::Up, 1, false, &spec));
    assert_eq!(next().await, (true, true), "there is a doubt");
    running.follow(&Monitor::new(Health::Down, &spec));
    assert_eq!(next().await, (true, true), "it comes up");
    running.follow(&Monitor::new(Health::Up, &spec));
    assert_eq!(next().await, (true, false));
    drop(listener);
    assert_eq!(next().await, (false, true));
}

#[tokio::test]
async fn who_is_beyond_doubt_is_not_probed_in_a_hurry_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = CheckSpec {
        fast_interval: Some(Duration::from_millis(500)),
        ..each(Duration::from_secs(3600), CheckKind::TCP)
    };
    let (tx, mut results) = results::channel(8);
    let running = spawn(
        job(spec.clone(), listener.local_addr().unwrap(), Course::Direct),
        tx,
    );
    running.hurry(true);
    assert!(next(&mut results).await.result.is_ok());
    // It has begun to wait for a fast interval by then.
    sleep(Duration::from_millis(50)).await;
    running.follow(&Monitor::new(Health::Up, &spec));
    sleep(Duration::from_secs(1)).await;
    assert!(results.try_next().is_none());
    // What speaks against it is not put off by a result of before.
    running.now();
    running.hurry(true);
    running.hurry(false);
    assert!(next(&mut results).await.result.is_ok());
}

/// Of a probe at intervals of `interval`, whose first pause is over if it `is_spread`.
fn runner(interval: Duration, is_spread: bool) -> Runner<u32> {
    let target = (std::net::Ipv4Addr::LOCALHOST, 1).into();
    Runner {
        number: 1,
        excused: 0,
        unasked: 0,
        told_unasked: None,
        is_spread,
        draw: draw(&1),
        job: job(each(interval, CheckKind::TCP), target, Course::Direct),
        tx: results::channel(1).0,
        pace: Arc::default(),
    }
}

#[tokio::test]
async fn after_a_standstill_probes_are_spread_anew() {
    let interval = 2 * SPREAD;
    let mut runner = runner(interval, true);
    let part = interval.mul_f64(share(draw(&runner.draw)));
    runner.wait(Instant::now()).await;
    assert_eq!(runner.pause(), interval);
    let standstill = async { std::thread::sleep(interval + 2 * SPREAD) };
    tokio::join!(runner.wait(Instant::now()), standstill);
    assert_eq!(runner.pause(), part);
    // Once: who is late then as well is not probed more often than it should be.
    let standstill = async { std::thread::sleep(interval + 2 * SPREAD) };
    tokio::join!(runner.wait(Instant::now()), standstill);
    assert_eq!(runner.pause(), interval);
}

#[tokio::test]
async fn a_probe_that_takes_its_time_is_no_standstill() {
    let interval = 100 * SPREAD;
    for is_spread in [false, true] {
        let mut runner = runner(interval, is_spread);
        for _ in 0..3 {
            runner
                .wait(Instant::now().checked_sub(2 * interval).unwrap())
                .await;
            assert_eq!(runner.pause(), interval);
        }
    }
}
