//! Looks at what the machine has for building the BPF program. Changes nothing.

use std::{fs, path::Path, process::Command};

use super::{
    route::Facts,
    toolchain::{DEBIAN, LLVM_PREFIX},
};
use crate::process::{installed, output};

/// Taken for a linker that has LLVM built in and so does not tell: the version that the project builds it with.
const LINKER_LLVM: u32 = 22;

pub fn facts() -> Facts {
    let rustup = installed("rustup");
    Facts {
        rustup,
        linker: linker(),
        debian: bpf_compiler(|| Command::new("/usr/bin/rustc")),
        debian_linked: rustup && bpf_compiler(|| rustc(DEBIAN)).is_some(),
        debian_llvm: Path::new(LLVM_PREFIX).join("bin/llvm-config").is_file(),
        nightly: rustup.then(|| compiler(rustc("nightly"))).flatten(),
        rust_src: rustup && rust_src(),
    }
}

/// LLVM's major version in a compiler that has a core library for BPF.
fn bpf_compiler(rustc: impl Fn() -> Command) -> Option<u32> {
    let dir = output(rustc().args(["--print", "target-libdir", "--target", "bpfel-unknown-none"]))?;
    let mut files = fs::read_dir(dir.trim())
        .ok()?
        .flatten()
        .map(|file| file.file_name());
    files
        .any(|name| name.to_string_lossy().starts_with("libcore-"))
        .then(|| compiler(rustc()))?
}

fn rustc(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    // Looking must not start a download.
    command
        .args(["run", toolchain, "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    command
}

fn compiler(mut rustc: Command) -> Option<u32> {
    llvm_of_rustc(&output(rustc.arg("-vV"))?)
}

fn rust_src() -> bool {
    let sysroot = output(rustc("nightly").args(["--print", "sysroot"]));
    sysroot.is_some_and(|dir| {
        Path::new(dir.trim())
            .join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .is_file()
    })
}

fn linker() -> Option<u32> {
    output(Command::new("bpf-linker").arg("--version"))?;
    let path = output(Command::new("sh").args(["-c", "command -v bpf-linker"]))?;
    let libraries = output(Command::new("ldd").arg(path.trim())).unwrap_or_default();
    Some(llvm_of_libraries(&libraries).unwrap_or(LINKER_LLVM))
}

fn llvm_of_rustc(version: &str) -> Option<u32> {
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

/// From `ldd`'s `libLLVM.so.22.1 => …` or `libLLVM-18.so.1 => …`.
fn llvm_of_libraries(ldd: &str) -> Option<u32> {
    let library = ldd.lines().find_map(|line| line.trim().strip_prefix("libLLVM"))?;
    let version = library.trim_start_matches(|c: char| !c.is_ascii_digit());
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_tells_its_llvm() {
        assert_eq!(
            llvm_of_rustc("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(llvm_of_rustc("rustc 1.96.0\n"), None);
    }

    #[test]
    fn a_linker_s_llvm_is_in_the_libraries_it_loads() {
        let ldd =
            "\tlinux-vdso.so.1 (0x1)\n\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x2)\n";
        assert_eq!(llvm_of_libraries(ldd), Some(22));
        assert_eq!(
            llvm_of_libraries("\tlibLLVM-18.so.1 => /usr/lib/libLLVM-18.so.1 (0x2)\n"),
            Some(18)
        );
        assert_eq!(llvm_of_libraries("\tstatically linked\n"), None);
    }
}
