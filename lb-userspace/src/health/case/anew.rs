//! Other checks or rules for a backend under observation.

use std::time::Instant;

use super::{Case, Turn, wishes};
use crate::{
    config::{CheckSpec, HealthSpec},
    health::{Health, Monitor, Wish},
};

impl Case {
    /// Other checks from now on: each that asks what one of before has asked goes on from where that one was.
    pub fn check_by(&mut self, before: &[CheckSpec], specs: &[CheckSpec]) {
        // Others begin where the backend is, who may be held down though its checks pass; and what was a silence is no refusal by them.
        let passes =
            self.counted().next().is_some() && self.counted().all(|check| check.health() == Health::Up);
        let health = if passes { Health::Up } else { self.health };
        let is_doubtful = !self.is_down_for_sure();
        let questions = before.iter().map(CheckSpec::question);
        let mut known: Vec<_> = questions.zip(std::mem::take(&mut self.checks)).collect();
        let follow = |spec: &CheckSpec| match take_known(&mut known, &spec.question()) {
            Some(monitor) => monitor.under(spec),
            None => Monitor::remembered(health, 0, is_doubtful, spec),
        };
        self.checks = specs.iter().map(follow).collect();
        if !wishes(specs) {
            self.wish = Wish::default();
        }
        self.is_set_anew = true;
    }

    /// Has these rules from now on; what that changes. Who is down by them has not failed.
    pub fn judge_by(&mut self, rules: HealthSpec, now: Instant) -> Option<Turn> {
        let are_others = std::mem::replace(&mut self.rules, rules) != rules;
        if !std::mem::take(&mut self.is_set_anew) && !are_others {
            return None;
        }
        let said = |case: &Self| {
            let grounds = case
                .grounds()
                .map_or(String::new(), |grounds| format!(": {grounds}"));
            format!("by its checks and their rules as they are set now{grounds}")
        };
        self.follow(said, now)
    }
}

/// Takes out what is known by a question. Of two that are the same, the first.
pub fn take_known<Q: PartialEq, T>(known: &mut Vec<(Q, T)>, question: &Q) -> Option<T> {
    let at = known.iter().position(|(asked, _)| asked == question)?;
    Some(known.remove(at).1)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{SECOND, fail, health},
        *,
    };
    use crate::{
        config::CheckKind,
        health::{Answer, ProbeError},
    };

    #[test]
    fn a_check_of_another_type_begins_with_what_is_known_of_the_backend() {
        let now = Instant::now();
        let slow = |kind| CheckSpec {
            fall: 3,
            ..CheckSpec::new(kind)
        };
        let specs = [slow(CheckKind::TCP), slow(CheckKind::TCP)];
        let mut case = Case::new(Health::Up, &specs, HealthSpec::default());
        case.observe(0, &fail(), SECOND, now);
        case.observe(1, &fail(), SECOND, now);
        let others = [slow(CheckKind::TCP), slow(CheckKind::Icmp), slow(CheckKind::Icmp)];
        case.check_by(&specs, &others);
        let streaks: Vec<_> = case.checks().iter().map(Monitor::streak).collect();
        assert_eq!(streaks, [1, 0, 0]);
        assert!(case.checks().iter().all(|check| check.health() == Health::Up));
        case.check_by(&others, &others[..1]);
        assert_eq!((case.checks().len(), case.checks()[0].streak()), (1, 1));
    }

    #[test]
    fn what_one_question_has_found_says_nothing_of_another() {
        let now = Instant::now();
        let at = |port| CheckSpec {
            port: Some(port),
            fall: 1,
            ..CheckSpec::new(CheckKind::http())
        };
        let (good, bad) = (at(9027), at(9028));
        let before = [good.clone(), bad.clone()];
        let broken = || {
            let mut case = Case::new(Health::Up, &before, HealthSpec::default());
            case.observe(0, &Ok(Answer::default()), SECOND, now);
            assert_eq!(health(case.observe(1, &fail(), SECOND, now)), Some(Health::Down));
            case
        };
        let mut case = broken();
        case.check_by(&before, std::slice::from_ref(&bad));
        assert!(case.judge_by(HealthSpec::default(), now).is_none());
        assert_eq!(
            (case.health(), case.checks()[0].last().unwrap().passed),
            (Health::Down, false)
        );
        // In another order, and by another pace.
        let mut case = broken();
        let slower = CheckSpec {
            interval: 7 * SECOND,
            ..good
        };
        case.check_by(&before, &[bad, slower]);
        assert!(case.judge_by(HealthSpec::default(), now).is_none());
        let each: Vec<_> = case.checks().iter().map(Monitor::health).collect();
        assert_eq!(each, [Health::Down, Health::Up]);
        // Another port is another question: it begins where the backend is.
        let mut case = broken();
        case.check_by(&before, &[at(9029)]);
        assert!(case.judge_by(HealthSpec::default(), now).is_none());
        assert_eq!((case.health(), case.checks()[0].last()), (Health::Down, None));
    }

    #[test]
    fn a_check_of_another_type_makes_no_refusal_of_a_silence() {
        let now = Instant::now();
        let before = [CheckSpec {
            fall: 1,
            ..CheckSpec::new(CheckKind::TCP)
        }];
        let others = [CheckSpec::new(CheckKind::TcpHold)];
        for (found, is_sure) in [(fail(), false), (Err(ProbeError::refusal("refused")), true)] {
            let mut case = Case::new(Health::Up, &before, HealthSpec::default());
            assert_eq!(health(case.observe(0, &found, SECOND, now)), Some(Health::Down));
            assert_eq!(case.is_down_for_sure(), is_sure);
            case.check_by(&before, &others);
            assert_eq!((case.health(), case.is_down_for_sure()), (Health::Down, is_sure));
        }
    }
}
