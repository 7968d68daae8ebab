use super::*;
use crate::config::{Admin, CheckKind, Flaps as Rules};

pub const SECOND: Duration = Duration::from_secs(1);

fn case(initial: Health, checks: usize, rules: HealthSpec) -> Case {
    let spec = CheckSpec {
        rise: 1,
        fall: 1,
        ..CheckSpec::new(CheckKind::TCP)
    };
    Case::new(initial, &vec![spec; checks], rules)
}

fn pass() -> Result<Answer, ProbeError> {
    Ok(Answer::default())
}

pub fn fail() -> Result<Answer, ProbeError> {
    Err(ProbeError::timeout(SECOND))
}

fn wishes(wish: Wish) -> Result<Answer, ProbeError> {
    Ok(Answer {
        said: None,
        wish: Some(wish),
    })
}

pub fn health(turn: Option<Turn>) -> Option<Health> {
    turn.map(|turn| turn.health)
}

#[test]
fn all_or_any_of_the_checks_have_to_pass() {
    let now = Instant::now();
    let mut all = case(Health::Checking, 2, HealthSpec::default());
    assert_eq!(all.observe(0, &pass(), SECOND, now), None);
    assert_eq!(health(all.observe(1, &pass(), SECOND, now)), Some(Health::Up));
    assert_eq!(health(all.observe(0, &fail(), SECOND, now)), Some(Health::Down));
    assert_eq!(all.last_result(), Some("timeout after 1s".to_owned()));
    assert_eq!(all.observe(9, &fail(), SECOND, now), None);
    let rules = HealthSpec {
        require: Require::Any,
        ..HealthSpec::default()
    };
    let mut any = case(Health::Checking, 2, rules);
    assert_eq!(any.observe(0, &fail(), SECOND, now), None);
    assert_eq!(health(any.observe(1, &pass(), SECOND, now)), Some(Health::Up));
    assert_eq!(health(any.observe(1, &fail(), SECOND, now)), Some(Health::Down));
}

#[test]
fn who_flaps_is_held_down_until_time_is_over() {
    let rules = HealthSpec {
        flaps: Rules {
            allowed: 1,
            ..Rules::default()
        },
        ..HealthSpec::default()
    };
    let mut case = case(Health::Up, 1, rules);
    let now = Instant::now();
    assert_eq!(case.observe(0, &fail(), SECOND, now).unwrap().held, None);
    assert_eq!(health(case.observe(0, &pass(), SECOND, now)), Some(Health::Up));
    let turn = case.observe(0, &fail(), SECOND, now).unwrap();
    assert_eq!(turn.held, Some((SECOND, 2)));
    assert_eq!(case.due(now), None);
    assert_eq!(case.observe(0, &pass(), SECOND, now), None);
    assert_eq!(case.due(now), Some(now + SECOND));
    assert_eq!(case.tick(now), None);
    let turn = case.tick(now + SECOND).unwrap();
    assert_eq!(
        (turn.health, turn.reason.as_str()),
        (Health::Up, "no longer held down")
    );
}

#[test]
fn weight_grows_after_a_recovery_and_not_at_first() {
    let rules = HealthSpec {
        slow_start: SECOND * 10,
        ..HealthSpec::default()
    };
    let now = Instant::now();
    let mut first = case(Health::Checking, 1, rules);
    first.observe(0, &pass(), SECOND, now);
    assert_eq!((first.share(now), first.due(now)), (100, None));
    let mut case = case(Health::Down, 1, rules);
    case.observe(0, &pass(), SECOND, now);
    let mut shares = vec![case.share(now)];
    let mut at = now;
    while let Some(due) = case.due(at) {
        assert!(due > at);
        at = due;
        shares.push(case.share(at));
    }
    assert_eq!(shares, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    assert!(at >= now + SECOND * 9 && at < now + SECOND * 10);
}

#[test]
fn wishes_stay_until_they_are_taken_back() {
    let now = Instant::now();
    let mut case = case(Health::Up, 1, HealthSpec::default());
    let half = Wish {
        weight: Some(50),
        admin: Some(Admin::Drain),
        ..Wish::default()
    };
    assert_eq!(case.observe(0, &wishes(half), SECOND, now), None);
    assert_eq!((case.share(now), case.wish().admin), (50, Some(Admin::Drain)));
    let down = Wish {
        stand: Some(Stand::Down),
        reason: Some("disk full".into()),
        ..Wish::default()
    };
    let turn = case.observe(0, &wishes(down), SECOND, now).unwrap();
    assert_eq!(
        (turn.health, turn.reason.as_str()),
        (Health::Down, "its agent says down: disk full")
    );
    assert!(case.is_down_for_sure());
    assert_eq!(case.share(now), 50);
    let up = Wish {
        stand: Some(Stand::Up),
        ..Wish::default()
    };
    assert_eq!(
        health(case.observe(0, &wishes(up), SECOND, now)),
        Some(Health::Up)
    );
}

#[test]
fn a_reason_is_that_of_the_newest_line_that_may_have_one() {
    let now = Instant::now();
    let mut case = case(Health::Up, 1, HealthSpec::default());
    let mut reason_after = |line: &str| {
        let wish = line.parse().unwrap();
        case.observe(0, &wishes(wish), SECOND, now);
        case.wish().reason.clone()
    };
    let deploy = Some("deploy".to_owned());
    assert_eq!(reason_after("drain #deploy"), deploy);
    assert_eq!(reason_after("50%"), deploy);
    assert_eq!(reason_after("60% #busy"), Some("busy".to_owned()));
    assert_eq!(reason_after("ready"), None);
    assert_eq!(reason_after("down #disk"), Some("disk".to_owned()));
    assert_eq!(reason_after("up"), None);
}

#[test]
fn an_agent_that_does_not_answer_counts_only_where_nobody_else_is_asked() {
    let now = Instant::now();
    let spec = |kind| CheckSpec {
        rise: 1,
        fall: 1,
        ..CheckSpec::new(kind)
    };
    let agent = || spec(CheckKind::Agent { send: None });
    let refused = || Err(ProbeError::refusal("connect: connection refused"));
    for require in [Require::All, Require::Any] {
        let rules = HealthSpec {
            require,
            ..HealthSpec::default()
        };
        let both = [spec(CheckKind::TCP), agent()];
        let mut case = Case::new(Health::Checking, &both, rules);
        case.observe(0, &pass(), SECOND, now);
        // What it has wished stays, too.
        let half = Wish {
            weight: Some(50),
            ..Wish::default()
        };
        case.observe(1, &wishes(half), SECOND, now);
        assert_eq!(case.health(), Health::Up);
        assert_eq!(case.observe(1, &refused(), SECOND, now), None);
        assert_eq!((case.health(), case.share(now)), (Health::Up, 50));
        assert_eq!(case.checks()[1].health(), Health::Down);
        // Nor does it say that the backend itself has refused.
        assert_eq!(health(case.observe(0, &fail(), SECOND, now)), Some(Health::Down));
        assert!(!case.is_down_for_sure());
    }
    let mut alone = Case::new(Health::Up, &[agent()], HealthSpec::default());
    assert_eq!(
        health(alone.observe(0, &refused(), SECOND, now)),
        Some(Health::Down)
    );
    assert!(alone.is_down_for_sure());
}

#[test]
fn that_an_agent_answers_says_nothing_of_the_backend_where_others_are_asked() {
    let now = Instant::now();
    let http = CheckSpec {
        rise: 1,
        fall: 1,
        ..CheckSpec::new(CheckKind::http())
    };
    let agent = CheckSpec {
        rise: 1,
        ..CheckSpec::new(CheckKind::Agent { send: None })
    };
    let up = || {
        wishes(Wish {
            stand: Some(Stand::Up),
            ..Wish::default()
        })
    };
    for require in [Require::All, Require::Any] {
        let rules = HealthSpec {
            require,
            ..HealthSpec::default()
        };
        let begin = || Case::new(Health::Checking, &[http.clone(), agent.clone()], rules);
        let mut broken = begin();
        assert_eq!(broken.observe(1, &up(), SECOND, now), None);
        assert_eq!(
            health(broken.observe(0, &fail(), SECOND, now)),
            Some(Health::Down)
        );
        assert_eq!(broken.observe(1, &up(), SECOND, now), None);
        // Nor is anybody kept waiting for its first word.
        let mut fine = begin();
        assert_eq!(health(fine.observe(0, &pass(), SECOND, now)), Some(Health::Up));
        assert_eq!(fine.observe(1, &fail(), SECOND, now), None);
        assert_eq!(fine.last_result(), Some("passed in 1000.0 ms".to_owned()));
        let mut down = begin();
        let disk = Ok(Answer {
            said: Some("down#disk".to_owned()),
            wish: Some(Wish {
                stand: Some(Stand::Down),
                ..Wish::default()
            }),
        });
        down.observe(0, &pass(), SECOND, now);
        down.observe(1, &disk, SECOND, now);
        assert_eq!(
            down.last_result(),
            Some("passed in 1000.0 ms: down#disk".to_owned())
        );
        down.observe(0, &fail(), SECOND, now);
        assert_eq!(down.last_result(), Some("timeout after 1s".to_owned()));
    }
}

#[test]
fn a_turn_is_never_told_with_a_result_that_speaks_against_it() {
    let now = Instant::now();
    let any = HealthSpec {
        require: Require::Any,
        ..HealthSpec::default()
    };
    let specs = vec![CheckSpec::new(CheckKind::TCP); 2];
    let mut case = case(Health::Down, 2, HealthSpec::default());
    case.observe(0, &pass(), SECOND, now);
    case.observe(1, &fail(), SECOND, now + SECOND);
    case.check_by(&specs, &specs);
    let turn = case.judge_by(any, now).unwrap();
    assert_eq!(turn.health, Health::Up);
    assert!(turn.reason.ends_with(": passed in 1000.0 ms"), "{}", turn.reason);
}

#[test]
fn a_silence_may_be_ours_and_a_refusal_is_not() {
    let now = Instant::now();
    let mut case = case(Health::Up, 1, HealthSpec::default());
    case.observe(0, &fail(), SECOND, now);
    assert!(!case.is_down_for_sure());
    let refused = Err(ProbeError::refusal("connect: connection refused"));
    case.observe(0, &refused, SECOND, now);
    assert!(case.is_down_for_sure());
}
