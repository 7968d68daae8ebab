//! How the BPF program is built here: a decision on facts that `probe` found.

/// A Rust toolchain that compiles for BPF, each with the `bpf-linker` that fits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Debian's Rust, which has a prebuilt `core` for BPF.
    Debian,
    /// rustup's nightly, which builds `core` from rust-src.
    Nightly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Use(Route),
    Install(Route),
    /// Nothing here to install it with.
    TellUser,
}

/// What was found on the machine. A number is the major version of LLVM inside the program; none: it is missing or broken.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub rustup: bool,
    pub linker: Option<u32>,
    /// Debian's compiler, if it has a core library for BPF.
    pub debian: Option<u32>,
    /// rustup knows it under its name here.
    pub debian_linked: bool,
    /// The libraries that bpf-linker is built with are there.
    pub debian_llvm: bool,
    pub nightly: Option<u32>,
    pub rust_src: bool,
}

impl Facts {
    pub fn complete(&self, route: Route) -> bool {
        let here = match route {
            Route::Debian => self.debian_linked,
            Route::Nightly => self.rust_src,
        };
        here && self.linker_fits(route)
    }

    /// LLVM reads what an older LLVM wrote, not what a newer one did.
    pub fn linker_fits(&self, route: Route) -> bool {
        let compiler = match route {
            Route::Debian => self.debian,
            Route::Nightly => self.nightly,
        };
        matches!((compiler, self.linker), (Some(compiler), Some(linker)) if compiler <= linker)
    }

    /// Whether Debian's packages have to be installed for its route.
    pub fn debian_packages_missing(&self) -> bool {
        self.debian.is_none() || (!self.linker_fits(Route::Debian) && !self.debian_llvm)
    }
}

/// A complete route first, then one to install. Debian's comes before nightly, because it is quicker to build with and does
/// not change from one day to the next. `debian_offers` is asked only when it matters: it may have to fetch package lists.
pub fn plan(facts: &Facts, debian_offers: impl FnOnce() -> bool) -> Plan {
    let complete = [Route::Debian, Route::Nightly]
        .into_iter()
        .find(|&route| facts.complete(route));
    if let Some(route) = complete {
        return Plan::Use(route);
    }
    if !facts.rustup {
        return Plan::TellUser;
    }
    if !facts.debian_packages_missing() || debian_offers() {
        return Plan::Install(Route::Debian);
    }
    Plan::Install(Route::Nightly)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Facts {
        Facts {
            rustup: true,
            linker: Some(22),
            debian: Some(22),
            debian_linked: true,
            debian_llvm: true,
            ..Facts::default()
        }
    }

    fn nightly() -> Facts {
        Facts {
            rustup: true,
            linker: Some(22),
            nightly: Some(22),
            rust_src: true,
            ..Facts::default()
        }
    }

    fn not_asked() -> bool {
        panic!("Debian's package sources need not be asked")
    }

    #[test]
    fn a_complete_route_is_used_without_asking_debian() {
        assert_eq!(plan(&debian(), not_asked), Plan::Use(Route::Debian));
        assert_eq!(plan(&nightly(), not_asked), Plan::Use(Route::Nightly));
    }

    #[test]
    fn of_two_complete_routes_debian_s_is_used() {
        let both = Facts {
            nightly: Some(22),
            rust_src: true,
            ..debian()
        };
        assert_eq!(plan(&both, not_asked), Plan::Use(Route::Debian));
    }

    #[test]
    fn a_complete_nightly_comes_before_installing_debian_s() {
        let half_debian = Facts {
            debian: Some(22),
            ..nightly()
        };
        assert_eq!(plan(&half_debian, not_asked), Plan::Use(Route::Nightly));
    }

    #[test]
    fn a_bare_machine_takes_what_debian_offers_else_nightly() {
        let bare = Facts {
            rustup: true,
            ..Facts::default()
        };
        assert_eq!(plan(&bare, || true), Plan::Install(Route::Debian));
        assert_eq!(plan(&bare, || false), Plan::Install(Route::Nightly));
    }

    #[test]
    fn without_rustup_there_is_nothing_to_install_with() {
        assert_eq!(plan(&Facts::default(), not_asked), Plan::TellUser);
    }

    #[test]
    fn a_missing_linker_or_name_needs_no_packages() {
        let no_linker = Facts {
            linker: None,
            ..debian()
        };
        assert_eq!(plan(&no_linker, not_asked), Plan::Install(Route::Debian));
        let no_name = Facts {
            debian_linked: false,
            ..debian()
        };
        assert_eq!(plan(&no_name, not_asked), Plan::Install(Route::Debian));
    }

    #[test]
    fn a_linker_older_than_the_compiler_does_not_fit() {
        assert!(
            !Facts {
                linker: Some(21),
                ..debian()
            }
            .complete(Route::Debian)
        );
        assert!(
            Facts {
                linker: Some(23),
                ..debian()
            }
            .complete(Route::Debian)
        );
        assert!(
            !Facts {
                nightly: Some(23),
                ..nightly()
            }
            .complete(Route::Nightly)
        );
    }

    #[test]
    fn nightly_without_its_sources_is_incomplete() {
        assert!(
            !Facts {
                rust_src: false,
                ..nightly()
            }
            .complete(Route::Nightly)
        );
    }
}
