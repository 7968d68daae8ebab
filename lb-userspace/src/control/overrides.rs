//! The changes made at run time, kept in the state directory.
//!
//! They are carried out over the configuration file at each start. One that no longer fits the file is left out, with a
//! warning.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    config::{Limits, ServiceSpec, validate_set},
    control::change::Change,
};

/// The changes, oldest first, without those that a later one has made void.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    changes: Vec<Change>,
}

impl Overrides {
    /// Adds a change, and forgets those that do not matter any more.
    pub fn push(&mut self, change: Change) {
        let made_here = match &change {
            Change::RemoveService { service } => self.forget_service(service),
            Change::RemoveBackend { service, backend } => self.forget_backend(service, backend),
            Change::SetBackend {
                service,
                backend,
                admin,
                weight,
            } => {
                self.merge(service, backend, (*admin, *weight));
                return;
            }
            Change::AddService { .. } | Change::AddBackend { .. } => false,
        };
        if !made_here {
            self.changes.push(change);
        }
    }

    /// Forgets the settings of backends that the file says as well: one that was drained and is ready again.
    pub fn forget_restored(&mut self, file: &[ServiceSpec]) {
        let changes = std::mem::take(&mut self.changes);
        let restored = |change: &Change| {
            let Change::SetBackend {
                service,
                backend,
                admin,
                weight,
            } = change
            else {
                return false;
            };
            let as_in_file = file
                .iter()
                .filter(|spec| spec.name == *service)
                .flat_map(|spec| &spec.backends)
                .filter(|spec| spec.name == *backend)
                .any(|spec| {
                    admin.is_none_or(|admin| admin == spec.admin)
                        && weight.is_none_or(|weight| weight == spec.weight)
                });
            // One that was removed or made here is not the file's.
            as_in_file
                && !changes.iter().any(|other| {
                    other != change
                        && (other.subject() == change.subject() || other.subject() == (service, None))
                })
        };
        let kept = changes
            .iter()
            .filter(|change| !restored(change))
            .cloned()
            .collect();
        self.changes = kept;
    }

    /// The services of the configuration file with the changes carried out, and a line for each change that does not fit.
    #[must_use]
    pub fn over(&self, file: &[ServiceSpec], limits: &Limits) -> (Vec<ServiceSpec>, Vec<String>) {
        let mut services = file.to_vec();
        let mut misfits = Vec::new();
        for change in &self.changes {
            let mut changed = services.clone();
            let refusal = match change.apply(&mut changed) {
                Err(refusal) => Some(refusal.to_string()),
                Ok(()) => validate_set(&changed, limits)
                    .err()
                    .map(|invalid| invalid.to_string()),
            };
            match refusal {
                Some(refusal) => misfits.push(format!("a change made at run time no longer fits: {refusal}")),
                None => services = changed,
            }
        }
        (services, misfits)
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Reads the changes; a file that is not there holds none.
    ///
    /// # Errors
    /// When the file cannot be read or is not ours.
    pub fn load(state_dir: &Path) -> Result<Self> {
        let path = file(state_dir);
        let wrong = || {
            format!(
                "{}: not the changes that xlb wrote: mend or remove the file",
                path.display()
            )
        };
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.with_context(wrong)?,
        };
        let changes = serde_json::from_slice(&text).with_context(wrong)?;
        Ok(Self { changes })
    }

    /// Writes the changes, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, state_dir: &Path) -> Result<()> {
        let path = file(state_dir);
        let next = path.with_extension("next");
        let write = || -> io::Result<()> {
            let mut writer = fs::File::create(&next)?;
            serde_json::to_writer_pretty(&mut writer, &self.changes)?;
            writer.flush()?;
            writer.sync_all()?;
            fs::rename(&next, &path)
        };
        write().with_context(|| {
            format!(
                "write {}: make node.state_dir writable, with room",
                path.display()
            )
        })
    }

    /// Forgets all about a service; gives whether it was made by a change, so that the file does not know it.
    fn forget_service(&mut self, name: &str) -> bool {
        let mut added = false;
        // A removal before the last addition hides the file's service of that name and has to stay.
        let last_added = self
            .changes
            .iter()
            .rposition(|change| matches!(change, Change::AddService { service } if service.name == name));
        let mut index = 0;
        self.changes.retain(|change| {
            let here = index;
            index += 1;
            if change.subject().0 != name || matches!(change, Change::RemoveService { .. }) {
                return true;
            }
            added |= Some(here) == last_added;
            false
        });
        added
    }

    /// Forgets all about a backend; gives whether it was made by a change.
    fn forget_backend(&mut self, service: &str, backend: &str) -> bool {
        let about = |change: &Change| change.subject() == (service, Some(backend));
        let added = self
            .changes
            .iter()
            .any(|change| about(change) && matches!(change, Change::AddBackend { .. }));
        self.changes
            .retain(|change| !about(change) || matches!(change, Change::RemoveBackend { .. }));
        added
    }

    fn merge(
        &mut self,
        service: &str,
        backend: &str,
        (admin, weight): (Option<crate::config::Admin>, Option<u16>),
    ) {
        let last = self
            .changes
            .iter_mut()
            .rev()
            .find(|change| change.subject() == (service, Some(backend)));
        if let Some(Change::SetBackend {
            admin: old_admin,
            weight: old_weight,
            ..
        }) = last
        {
            *old_admin = admin.or(*old_admin);
            *old_weight = weight.or(*old_weight);
            return;
        }
        let (service, backend) = (service.to_owned(), backend.to_owned());
        self.changes.push(Change::SetBackend {
            service,
            backend,
            admin,
            weight,
        });
    }
}

/// Name of the file with the changes, in the state directory.
pub const FILE: &str = "changes.json";

/// Where the changes are kept.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::Admin,
        control::change::tests::{backend, service},
    };

    fn set(name: &str, admin: Option<Admin>, weight: Option<u16>) -> Change {
        Change::SetBackend {
            service: "web".into(),
            backend: name.into(),
            admin,
            weight,
        }
    }

    #[test]
    fn what_is_undone_leaves_no_trace() {
        let mut overrides = Overrides::default();
        overrides.push(Change::AddService {
            service: service("api", 2, 1),
        });
        overrides.push(Change::AddBackend {
            service: "api".into(),
            backend: backend(2),
        });
        overrides.push(Change::RemoveService {
            service: "api".into(),
        });
        assert!(overrides.is_empty());
        overrides.push(set("b1", Some(Admin::Drain), None));
        overrides.push(set("b1", None, Some(5)));
        overrides.push(set("b1", Some(Admin::Ready), None));
        assert_eq!(overrides.changes, [set("b1", Some(Admin::Ready), Some(5))]);
    }

    #[test]
    fn changes_survive_on_disk() {
        let state = tempfile::tempdir().unwrap();
        assert!(Overrides::load(state.path()).unwrap().is_empty());
        let mut overrides = Overrides::default();
        overrides.push(Change::AddService {
            service: service("api", 2, 1),
        });
        overrides.push(set("b1", Some(Admin::Drain), None));
        overrides.save(state.path()).unwrap();
        assert_eq!(Overrides::load(state.path()).unwrap(), overrides);
        fs::write(file(state.path()), "[{}").unwrap();
        assert!(format!("{:#}", Overrides::load(state.path()).unwrap_err()).contains("changes.json"));
    }

    #[test]
    fn a_change_that_no_longer_fits_is_left_out_and_named() {
        let mut overrides = Overrides::default();
        overrides.push(set("b9", Some(Admin::Drain), None));
        overrides.push(set("b1", Some(Admin::Drain), None));
        let (services, misfits) = overrides.over(&[service("web", 1, 2)], &Limits::default());
        assert_eq!(services[0].backends[0].admin, Admin::Drain);
        assert_eq!(misfits.len(), 1);
        assert!(misfits[0].contains("b9"), "{misfits:?}");
    }

    fn any_change() -> impl Strategy<Value = Change> {
        let name = prop::sample::select(vec!["web", "api", "new"]);
        (name, 1_u8..4, 0_u16..3, 0..5).prop_map(|(name, number, weight, kind)| match kind {
            0 => Change::AddService {
                service: service(name, number, 2),
            },
            1 => Change::RemoveService { service: name.into() },
            2 => Change::AddBackend {
                service: name.into(),
                backend: backend(number),
            },
            3 => Change::RemoveBackend {
                service: name.into(),
                backend: format!("b{number}"),
            },
            _ => Change::SetBackend {
                service: name.into(),
                backend: format!("b{number}"),
                admin: (weight == 0).then_some(Admin::Drain),
                weight: Some(weight),
            },
        })
    }

    /// Order in a set means nothing.
    fn sorted(mut services: Vec<ServiceSpec>) -> Vec<ServiceSpec> {
        for service in &mut services {
            service.backends.sort_by(|a, b| a.name.cmp(&b.name));
        }
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services
    }

    proptest! {
        #[test]
        fn forgetting_changes_nothing_that_matters(changes in prop::collection::vec(any_change(), 0..30)) {
            let file = [service("web", 1, 2), service("api", 2, 1)];
            let mut live = file.to_vec();
            let mut overrides = Overrides::default();
            for change in changes {
                let mut next = live.clone();
                if change.apply(&mut next).is_ok() && validate_set(&next, &Limits::default()).is_ok() {
                    live = next;
                    overrides.push(change);
                }
            }
            let (restarted, misfits) = overrides.over(&file, &Limits::default());
            prop_assert_eq!(misfits, Vec::<String>::new());
            prop_assert_eq!(sorted(restarted), sorted(live));
        }
    }
}
