//! From what is to what shall be: a pure diff of two states of the data plane.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    backend::{Backend, BackendState, BackendWord},
    service::Service,
};

use crate::{
    config::Algorithm,
    datapath::{KeyOrd, Snapshot},
};

/// The data plane's state, with each slot table as the members that it is filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub services: BTreeMap<KeyOrd, Service>,
    pub vips: BTreeSet<[u32; 4]>,
    pub backends: BTreeMap<u32, (Backend, u64)>,
    pub tables: BTreeMap<u32, Table>,
}

/// What a slot table is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub algorithm: Algorithm,
    /// Stable key, id and weight of each backend that shares it.
    pub members: Vec<(String, u32, u32)>,
}

/// The word of an id that was never used.
const FREE: BackendWord = BackendWord(0);

/// One write to the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A backend that is new under its id, with counters at zero.
    NewBackend {
        id: u32,
        backend: Backend,
    },
    SetWord {
        id: u32,
        word: BackendWord,
    },
    /// Counters of a service that is new under its id.
    NewService {
        id: u32,
    },
    PutTable {
        service: u32,
        table: Table,
    },
    PutVip {
        vip: [u32; 4],
    },
    PutService {
        key: KeyOrd,
        service: Service,
    },
    RemoveService {
        key: KeyOrd,
    },
    RemoveVip {
        vip: [u32; 4],
    },
    ClearTable {
        service: u32,
    },
}

impl State {
    /// The state that an earlier agent has left. What its tables are filled with is not known.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            services: snapshot.services.clone(),
            vips: snapshot.vips.clone(),
            backends: snapshot
                .backends
                .iter()
                .map(|(&id, &(backend, word))| (id, (backend, word.0)))
                .collect(),
            tables: BTreeMap::new(),
        }
    }

    /// Takes in that a step has been carried out.
    pub fn took(&mut self, step: Step) {
        match step {
            // Nobody meets a backend without a word: until then it is there, and free.
            Step::NewBackend { id, backend } => {
                self.backends.entry(id).or_insert((backend, FREE.0)).0 = backend;
            }
            Step::SetWord { id, word } if word.state() == BackendState::Free => _ = self.backends.remove(&id),
            Step::SetWord { id, word } => {
                if let Some(entry) = self.backends.get_mut(&id) {
                    entry.1 = word.0;
                }
            }
            Step::NewService { .. } => {}
            Step::PutTable { service, table } => _ = self.tables.insert(service, table),
            Step::PutVip { vip } => _ = self.vips.insert(vip),
            Step::PutService { key, service } => _ = self.services.insert(key, service),
            Step::RemoveService { key } => _ = self.services.remove(&key),
            Step::RemoveVip { vip } => _ = self.vips.remove(&vip),
            Step::ClearTable { service } => _ = self.tables.remove(&service),
        }
    }

    fn service_ids(&self) -> BTreeSet<u32> {
        self.services.values().map(|service| service.id).collect()
    }
}

/// The steps from `applied` to `desired`, in an order in which packets never meet a name without its meaning: a backend
/// before a table that names it, a table before a service that uses it, and the other way round when they go.
#[must_use]
pub fn plan(desired: &State, applied: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    for (&id, &(backend, word)) in &desired.backends {
        let old = applied.backends.get(&id);
        if old.is_none_or(|(old, old_word)| *old != backend || generation(*old_word) != generation(word)) {
            steps.push(Step::NewBackend { id, backend });
        }
        if old.is_none_or(|(_, old_word)| *old_word != word) {
            steps.push(Step::SetWord {
                id,
                word: BackendWord(word),
            });
        }
    }
    let (new_ids, old_ids) = (desired.service_ids(), applied.service_ids());
    steps.extend(new_ids.difference(&old_ids).map(|&id| Step::NewService { id }));
    for (&service, table) in &desired.tables {
        if applied.tables.get(&service) != Some(table) {
            steps.push(Step::PutTable {
                service,
                table: table.clone(),
            });
        }
    }
    steps.extend(
        desired
            .vips
            .difference(&applied.vips)
            .map(|&vip| Step::PutVip { vip }),
    );
    for (&key, &service) in &desired.services {
        if applied.services.get(&key) != Some(&service) {
            steps.push(Step::PutService { key, service });
        }
    }
    let gone = applied
        .services
        .keys()
        .filter(|key| !desired.services.contains_key(key));
    steps.extend(gone.map(|&key| Step::RemoveService { key }));
    steps.extend(
        applied
            .vips
            .difference(&desired.vips)
            .map(|&vip| Step::RemoveVip { vip }),
    );
    let tables = old_ids.iter().chain(applied.tables.keys()).copied();
    let unused: BTreeSet<u32> = tables.filter(|id| !desired.tables.contains_key(id)).collect();
    steps.extend(unused.into_iter().map(|service| Step::ClearTable { service }));
    for (&id, &(_, word)) in &applied.backends {
        let word = BackendWord(word);
        if !desired.backends.contains_key(&id) && word.state() != BackendState::Free {
            let word = BackendWord::new(BackendState::Free, 0, word.generation());
            steps.push(Step::SetWord { id, word });
        }
    }
    steps
}

fn generation(word: u64) -> u32 {
    BackendWord(word).generation()
}

#[cfg(test)]
mod tests {
    use lb_common::{addr::Addr, service::ServiceKey};

    use super::*;

    fn word(state: BackendState, generation: u32) -> u64 {
        BackendWord::new(state, 0, generation).0
    }

    fn state(backends: &[u32]) -> State {
        let key = ServiceKey {
            vip: Addr::from_v4_word(7),
            port: 80,
            protocol: 6,
        };
        let members = backends
            .iter()
            .map(|&id| (format!("10.0.0.{id}:80"), id, 100))
            .collect();
        State {
            services: [(
                key.into(),
                Service {
                    id: 0,
                    mode: 1,
                    picker: 1,
                    _pad: [0; 2],
                },
            )]
            .into(),
            vips: [Addr::from_v4_word(7).words()].into(),
            backends: backends
                .iter()
                .map(|&id| {
                    (
                        id,
                        (
                            Backend {
                                service: 0,
                                ..Backend::default()
                            },
                            word(BackendState::Up, 1),
                        ),
                    )
                })
                .collect(),
            tables: [(
                0,
                Table {
                    algorithm: Algorithm::Maglev,
                    members,
                },
            )]
            .into(),
        }
    }

    /// Carries the first `count` steps out.
    fn carry_out(applied: &mut State, steps: &[Step], count: usize) {
        for step in &steps[..count] {
            applied.took(step.clone());
        }
    }

    #[test]
    fn the_steps_lead_from_one_state_to_the_other_also_after_a_failure_in_the_middle() {
        let mut again = state(&[2, 3]);
        again.backends.get_mut(&2).unwrap().1 = word(BackendState::Down, 4);
        let states = [State::default(), state(&[1]), state(&[1, 2]), again];
        for (from, to) in states
            .iter()
            .flat_map(|from| states.iter().map(move |to| (from, to)))
        {
            let steps = plan(to, from);
            for failed_at in 0..=steps.len() {
                for goal in [to, from] {
                    let mut applied = from.clone();
                    carry_out(&mut applied, &steps, failed_at);
                    let rest = plan(goal, &applied);
                    carry_out(&mut applied, &rest, rest.len());
                    applied.backends.retain(|_, (_, word)| *word != FREE.0);
                    assert_eq!(applied, *goal, "{steps:?} failed at {failed_at}");
                }
            }
        }
    }

    #[test]
    fn a_backend_that_never_got_a_word_is_not_freed_again() {
        let mut applied = State::default();
        let steps = plan(&state(&[1]), &applied);
        carry_out(&mut applied, &steps, 1);
        assert_eq!(plan(&State::default(), &applied), []);
    }

    fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
        steps.iter().position(wanted).unwrap()
    }

    #[test]
    fn nothing_to_do_is_no_step() {
        assert_eq!(plan(&state(&[1, 2]), &state(&[1, 2])), []);
        assert_eq!(plan(&State::default(), &State::default()), []);
    }

    #[test]
    fn meanings_come_before_names() {
        let steps = plan(&state(&[1]), &State::default());
        let backend = position(&steps, |step| matches!(step, Step::NewBackend { .. }));
        let word = position(&steps, |step| matches!(step, Step::SetWord { .. }));
        let table = position(&steps, |step| matches!(step, Step::PutTable { .. }));
        let service = position(&steps, |step| matches!(step, Step::PutService { .. }));
        assert!(backend < word && word < table && table < service, "{steps:?}");
    }

    #[test]
    fn names_go_before_meanings() {
        let steps = plan(&State::default(), &state(&[1]));
        let service = position(&steps, |step| matches!(step, Step::RemoveService { .. }));
        let table = position(&steps, |step| matches!(step, Step::ClearTable { .. }));
        let freed = Step::SetWord {
            id: 1,
            word: BackendWord::new(BackendState::Free, 0, 1),
        };
        assert!(
            service < table && table < position(&steps, |step| *step == freed),
            "{steps:?}"
        );
    }

    #[test]
    fn a_health_flip_is_one_word() {
        let mut down = state(&[1, 2]);
        down.backends.get_mut(&2).unwrap().1 = word(BackendState::Down, 1);
        let expected = Step::SetWord {
            id: 2,
            word: BackendWord::new(BackendState::Down, 0, 1),
        };
        assert_eq!(plan(&down, &state(&[1, 2])), [expected]);
    }

    #[test]
    fn a_removed_backend_leaves_the_table_before_it_is_freed() {
        let steps = plan(&state(&[1]), &state(&[1, 2]));
        assert!(
            matches!(steps[..], [Step::PutTable { .. }, Step::SetWord { id: 2, .. }]),
            "{steps:?}"
        );
    }

    #[test]
    fn an_id_with_another_generation_is_a_new_backend() {
        let mut again = state(&[1]);
        again.backends.get_mut(&1).unwrap().1 = word(BackendState::Up, 2);
        let steps = plan(&again, &state(&[1]));
        assert!(
            matches!(steps[..], [Step::NewBackend { .. }, Step::SetWord { .. }]),
            "{steps:?}"
        );
    }
}
