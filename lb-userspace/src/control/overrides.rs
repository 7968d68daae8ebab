//! The changes made at run time, kept in the state directory.
//!
//! They are carried out over the configuration file at each start. One that no longer fits the file is left out, with a
//! warning.

#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    config::{BackendChange, Limits, Network, ServiceChange, Setup, Unserved, validate_set},
    control::change::{Change, Subject},
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
                set,
            } => {
                self.merge_backend(service, backend, *set);
                return;
            }
            Change::SetService { service, set } => {
                self.merge_service(service, set.clone());
                return;
            }
            Change::SetVip {
                address,
                unserved,
                ping,
            } => {
                self.merge_policy(*address, (*unserved, *ping));
                return;
            }
            Change::AddService { .. } | Change::AddBackend { .. } => false,
        };
        if !made_here {
            self.changes.push(change);
        }
    }

    /// Forgets the settings that the file says as well: of a backend that was drained and is ready again.
    pub fn forget_restored(&mut self, file: &Setup) {
        let changes = std::mem::take(&mut self.changes);
        let restored = |change: &Change| {
            // One that was removed or made here is not the file's.
            let is_alone = || {
                !changes.iter().any(|other| {
                    let subject = other.subject();
                    let around = match change.subject() {
                        Subject::Backend(service, _) => {
                            subject == Subject::Service(service)
                                && !matches!(other, Change::SetService { .. })
                        }
                        Subject::Service(_) | Subject::Vip(_) => false,
                    };
                    other != change && (subject == change.subject() || around)
                })
            };
            is_in(file, change) && is_alone()
        };
        let kept = changes
            .iter()
            .filter(|change| !restored(change))
            .cloned()
            .collect();
        self.changes = kept;
    }

    /// What the configuration file sets up with the changes carried out, and a line for each change that does not fit.
    #[must_use]
    pub fn over(&self, file: &Setup, limits: &Limits) -> (Setup, Vec<String>) {
        let all = self.all_over(file, limits);
        all.map_or_else(|| self.each_over(file, limits), |setup| (setup, Vec::new()))
    }

    /// The same if all changes fit. On the way there it may be a setup that cannot be: changes of a service stand before those of its
    /// backends, or behind them, as they were first made.
    fn all_over(&self, file: &Setup, limits: &Limits) -> Option<Setup> {
        let mut setup = file.clone();
        for change in &self.changes {
            change.apply(&mut setup).ok()?;
        }
        validate_set(&setup.services, limits).ok()?;
        Some(setup)
    }

    fn each_over(&self, file: &Setup, limits: &Limits) -> (Setup, Vec<String>) {
        let mut setup = file.clone();
        let mut misfits = Vec::new();
        for change in &self.changes {
            let mut changed = setup.clone();
            let refusal = match change.apply(&mut changed) {
                Err(refusal) => Some(refusal.to_string()),
                Ok(()) => validate_set(&changed.services, limits)
                    .err()
                    .map(|invalid| invalid.to_string()),
            };
            match refusal {
                Some(refusal) => misfits.push(format!("a change made at run time no longer fits: {refusal}")),
                None => setup = changed,
            }
        }
        (setup, misfits)
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
            if !change.subject().belongs_to(name) || matches!(change, Change::RemoveService { .. }) {
                return true;
            }
            added |= Some(here) == last_added;
            false
        });
        added
    }

    /// Forgets all about a backend; gives whether it was made by a change.
    fn forget_backend(&mut self, service: &str, backend: &str) -> bool {
        let about = |change: &Change| change.subject() == Subject::Backend(service, backend);
        let added = self
            .changes
            .iter()
            .any(|change| about(change) && matches!(change, Change::AddBackend { .. }));
        self.changes
            .retain(|change| !about(change) || matches!(change, Change::RemoveBackend { .. }));
        added
    }

    fn merge_backend(&mut self, service: &str, backend: &str, next: BackendChange) {
        let last = self
            .changes
            .iter_mut()
            .rev()
            .find(|change| change.subject() == Subject::Backend(service, backend));
        if let Some(Change::SetBackend { set, .. }) = last {
            *set = set.then(next);
            return;
        }
        let (service, backend) = (service.to_owned(), backend.to_owned());
        self.changes.push(Change::SetBackend {
            service,
            backend,
            set: next,
        });
    }

    fn merge_service(&mut self, service: &str, next: ServiceChange) {
        let last = self
            .changes
            .iter_mut()
            .rev()
            .find(|change| change.subject() == Subject::Service(service));
        if let Some(Change::SetService { set, .. }) = last {
            *set = std::mem::take(set).then(next);
            return;
        }
        self.changes.push(Change::SetService {
            service: service.to_owned(),
            set: next,
        });
    }

    fn merge_policy(&mut self, vip: Network, (unserved, ping): (Option<Unserved>, Option<bool>)) {
        for change in &mut self.changes {
            if let Change::SetVip {
                address,
                unserved: old_unserved,
                ping: old_ping,
            } = change
                && *address == vip
            {
                *old_unserved = unserved.or(*old_unserved);
                *old_ping = ping.or(*old_ping);
                return;
            }
        }
        self.changes.push(Change::SetVip {
            address: vip,
            unserved,
            ping,
        });
    }
}

/// Whether the file says what the change does.
fn is_in(file: &Setup, change: &Change) -> bool {
    match change {
        Change::SetBackend {
            service,
            backend,
            set,
        } => file
            .services
            .iter()
            .filter(|spec| spec.name == *service)
            .flat_map(|spec| &spec.backends)
            .filter(|spec| spec.name == *backend)
            .any(|spec| set.is_in(spec)),
        Change::SetService { service, set } => file
            .services
            .iter()
            .filter(|spec| spec.name == *service)
            .any(|spec| set.is_in(spec)),
        Change::SetVip {
            address,
            unserved,
            ping,
        } => {
            let policy = file.policy(*address);
            unserved.is_none_or(|unserved| unserved == policy.unserved)
                && ping.is_none_or(|ping| ping == policy.ping)
        }
        _ => false,
    }
}

/// Name of the file with the changes, in the state directory.
pub const FILE: &str = "changes.json";

/// Where the changes are kept.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}
