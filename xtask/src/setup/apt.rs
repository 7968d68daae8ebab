//! Debian's packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{STAGE, lab::is_root};
use crate::{process, say};

/// Runs its further arguments while the system may start no services: a web server that is installed for the tests must not
/// come up on the machine. Debian asks `policy-rc.d` (the first argument here) about that. One that is already there is
/// the machine's own and stays; one that an interrupted run left behind is recognised and goes.
const WITHOUT_SERVICES: &str = r#"
policy=$1; shift
mark='# xtask setup: no services while packages are installed'
if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy" && chmod 755 "$policy" || exit 1
fi
"$@"
"#;

pub struct Apt {
    available: bool,
    updated: bool,
}

impl Apt {
    pub fn new() -> Self {
        Self {
            available: process::installed("apt-get"),
            updated: false,
        }
    }

    /// Whether this machine's package sources have all of these.
    pub fn offers(&mut self, packages: &[&str]) -> bool {
        if !self.available {
            return false;
        }
        if is_root() {
            self.update();
        }
        let policy = process::output(
            Command::new("apt-cache")
                .arg("policy")
                .args(packages)
                .env("LC_ALL", "C"),
        );
        policy.is_some_and(|policy| candidates(&policy) == packages.len())
    }

    pub fn install(&mut self, what: &str, packages: &[&str]) -> Result<()> {
        if !self.available {
            bail!(
                "{what} is missing, and there is no apt-get here to install it with; Debian's packages: {}",
                packages.join(" ")
            );
        }
        if !is_root() {
            bail!("{what} is missing; as root run: {}", install_command(packages));
        }
        self.update();
        say::step(STAGE, what, format_args!("installing {}", packages.join(" ")));
        let mut install = Command::new("sh");
        install.args(["-c", WITHOUT_SERVICES, "sh", "/usr/sbin/policy-rc.d"]);
        install.args([
            "apt-get",
            "-q",
            "-y",
            "-o",
            "DPkg::Lock::Timeout=300",
            "-o",
            "Dpkg::Use-Pty=0",
        ]);
        install
            .args(["install", "--no-install-recommends"])
            .args(packages);
        process::quietly(STAGE, what, install.env("DEBIAN_FRONTEND", "noninteractive"))
    }

    /// The packages whose names match.
    pub fn search(&mut self, pattern: &str) -> Vec<String> {
        if !self.available {
            return Vec::new();
        }
        if is_root() {
            self.update();
        }
        let found = process::output(Command::new("apt-cache").args(["search", "--names-only", pattern]));
        let found = found.unwrap_or_default();
        let names = found.lines().filter_map(|line| line.split_whitespace().next());
        names.map(str::to_owned).collect()
    }

    /// Fetches a package into a directory, and installs nothing.
    pub fn download(&mut self, what: &str, package: &str, directory: &Path) -> Result<PathBuf> {
        say::step(STAGE, what, format_args!("downloading {package}"));
        let mut download = Command::new("apt-get");
        download.args(["-q", "download", package]).current_dir(directory);
        process::quietly(STAGE, what, &mut download)?;
        let files = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
        let mut paths = files.flatten().map(|file| file.path());
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
        };
        paths
            .find(is_it)
            .with_context(|| format!("apt-get has put no {package} into {}", directory.display()))
    }

    /// Once, and only when something is missing. A source that is broken or out of reach is no reason to stop: what is wanted may
    /// be on the lists there are, or be had in another way.
    fn update(&mut self) {
        if self.updated {
            return;
        }
        self.updated = true;
        say::step(STAGE, "package lists", "updating");
        let updated = process::quietly(
            STAGE,
            "package lists",
            Command::new("apt-get").args(["-q", "-o", "DPkg::Lock::Timeout=300", "update"]),
        );
        if let Err(error) = updated {
            say::step(STAGE, "package lists", format_args!("not updated: {error:#}"));
        }
    }
}

/// What a person types to install these.
pub fn install_command(packages: &[&str]) -> String {
    format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    )
}

/// How many packages of `apt-cache policy`'s answer can be installed. It leaves out the ones it has never heard of.
fn candidates(policy: &str) -> usize {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .filter(|version| version.trim() != "(none)")
        .count()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf, process};

    use super::*;

    struct Policy(PathBuf);

    impl Policy {
        fn new(test: &str) -> Self {
            Self(env::temp_dir().join(format!("xtask-policy-{test}-{}", process::id())))
        }

        /// Runs `script` with the policy in force; returns its exit code.
        fn run(&self, script: &str) -> Option<i32> {
            let mut command = Command::new("sh");
            command
                .args(["-c", WITHOUT_SERVICES, "sh"])
                .arg(&self.0)
                .args(["sh", "-c", script, "sh"])
                .arg(&self.0);
            command.status().unwrap().code()
        }
    }

    impl Drop for Policy {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn services_are_forbidden_while_packages_are_installed_and_no_longer() {
        let policy = Policy::new("success");
        assert_eq!(policy.run(r#""$1"; test $? = 101"#), Some(0));
        assert!(!policy.0.exists());
    }

    #[test]
    fn the_policy_goes_when_the_install_fails() {
        let policy = Policy::new("failure");
        assert_eq!(policy.run("exit 7"), Some(7));
        assert!(!policy.0.exists());
    }

    #[test]
    fn the_policy_goes_when_setup_is_interrupted() {
        let policy = Policy::new("interrupt");
        assert_eq!(policy.run("kill -INT $PPID"), Some(130));
        assert!(!policy.0.exists());
    }

    #[test]
    fn a_policy_of_the_machine_s_own_stays_as_it_is() {
        let policy = Policy::new("own");
        fs::write(&policy.0, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&policy.0, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(policy.run(r#""$1""#), Some(0));
        assert_eq!(fs::read_to_string(&policy.0).unwrap(), "#!/bin/sh\nexit 0\n");
    }

    #[test]
    fn a_policy_left_behind_by_a_killed_run_goes() {
        let policy = Policy::new("left");
        assert_eq!(policy.run("kill -KILL $PPID"), None);
        assert!(policy.0.exists());
        assert_eq!(policy.run(r#""$1"; test $? = 101"#), Some(0));
        assert!(!policy.0.exists());
    }

    #[test]
    fn a_package_without_a_candidate_cannot_be_installed() {
        let policy =
            "a:\n  Installed: (none)\n  Candidate: 1.2\nb:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
        assert_eq!(candidates(""), 0);
    }
}
