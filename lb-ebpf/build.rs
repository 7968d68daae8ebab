//! Tells the BPF linker what the kernels that we load into can do.

use std::process::Command;

/// Headers stand where they stand in a frame: without this, the code generator reads and writes them byte by byte. The
/// kernel takes such accesses to packets and maps where the CPU does (x86-64 and arm64), see `check_ptr_alignment` in
/// kernel/bpf/verifier.c. Linkers of LLVM before 22 do not know it and make slower code.
const UNALIGNED: &str = "allows-misaligned-mem-access";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let help = Command::new("bpf-linker").arg("--help").output();
    let known = help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains(UNALIGNED));
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") && known {
        println!("cargo:rustc-link-arg-bins=--cpu-features=+{UNALIGNED}");
    }
}
