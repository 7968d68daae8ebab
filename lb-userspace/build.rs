//! Builds the BPF programs and puts them at `OUT_DIR/xlb-xdp` and `OUT_DIR/xlb-decap`, from where `xlb` includes them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};
use aya_build::{Package, Toolchain, build_ebpf};

/// What an otherwise stable compiler must let these crates use: aya-ebpf's unstable features.
const UNSTABLE_CRATES: &str = "aya_ebpf,lb_ebpf,xlb_xdp,xlb_decap";
/// The programs of lb-ebpf.
const OBJECTS: [&str; 2] = ["xlb-xdp", "xlb-decap"];

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=AYA_BUILD_SKIP");
    if env::var("AYA_BUILD_SKIP").is_ok_and(|skip| skip == "1" || skip.eq_ignore_ascii_case("true")) {
        return without_programs();
    }
    // Besides its own sources, which build_ebpf names: the types it shares with the agent, and its profile.
    for input in ["lb-common/src", "lb-common/Cargo.toml", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", root.join(input).display());
    }
    let toolchain = toolchain(&root);
    // SAFETY: nothing else runs in this process yet: the first threads are build_ebpf's.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", UNSTABLE_CRATES) };
    // Every line of the inner cargo would be shown as a warning; errors still are.
    // SAFETY: as above.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    // Whatever the outer build does: in incremental builds rustc leaves inlining to LLVM, and the verifier has half as much to
    // look at (281,000 instructions instead of 493,000).
    // SAFETY: as above.
    unsafe { env::set_var("CARGO_INCREMENTAL", "1") };
    let dir = root.join("lb-ebpf");
    let dir = dir
        .to_str()
        .ok_or_else(|| anyhow!("{} is not UTF-8", dir.display()))?;
    build_ebpf(
        [Package {
            name: "lb-ebpf",
            root_dir: dir,
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
    .with_context(|| {
        format!(
            "the BPF programs could not be built with the toolchain `{toolchain}`: \
                 run `cargo xtask setup`, which finds or installs one that can"
        )
    })
}

/// For tools that only look at the agent's sources: it compiles, and cannot load anything.
fn without_programs() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    for object in OBJECTS.map(|name| out.join(name)) {
        fs::write(&object, []).with_context(|| format!("write {}", object.display()))?;
    }
    Ok(())
}

/// The one that the user names, else the one that `cargo xtask setup` chose, else Debian's if rustup knows it.
fn toolchain(root: &Path) -> String {
    println!("cargo:rerun-if-env-changed=XLB_BPF_TOOLCHAIN");
    if let Ok(name) = env::var("XLB_BPF_TOOLCHAIN") {
        return name;
    }
    let choice = root.join("target/bpf-toolchain");
    if let Ok(name) = fs::read_to_string(&choice) {
        // Only if it is there: cargo takes a file that is missing for one that has changed.
        println!("cargo:rerun-if-changed={}", choice.display());
        return name.trim().to_owned();
    }
    let known = Command::new("rustup").args(["toolchain", "list"]).output();
    let debian = known.is_ok_and(|known| {
        String::from_utf8_lossy(&known.stdout)
            .lines()
            .any(|name| name.starts_with("debian-web"))
    });
    if debian { "debian-web" } else { "nightly" }.to_owned()
}
