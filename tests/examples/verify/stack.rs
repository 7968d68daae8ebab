//! The deepest chain of calls: together, its functions have 512 bytes of stack.

use anyhow::{Context as _, Result, ensure};

/// The stack that a program has in all (`MAX_BPF_STACK`).
pub const MOST: u32 = 512;

/// One function of a linked program.
pub struct Function {
    pub name: String,
    /// Index of its first instruction.
    pub start: usize,
    /// Whether the loaded program still has it.
    pub is_kept: bool,
    /// Indices of the functions that it calls.
    pub calls: Vec<usize>,
}

/// A chain of calls from the entry on.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    pub bytes: u32,
    pub names: Vec<String>,
}

/// The stack of each function, from the line of the verifier's log that has them: `stack depth 96+0+40`.
pub fn depths(log: &str) -> Result<Vec<u32>> {
    let line = log.lines().find_map(|line| line.strip_prefix("stack depth "));
    let line = line.context("the verifier's log has no line 'stack depth'")?;
    let sum = line.split_whitespace().next().unwrap_or_default();
    let depths = sum.split('+').map(str::parse).collect::<Result<_, _>>();
    depths.with_context(|| format!("no sum of numbers: 'stack depth {line}'"))
}

/// Steps in which the verifier of a kernel counts a function's stack (`round_up_stack_depth` in kernel/bpf/verifier.c): those of
/// the interpreter, since Linux 6.9 those of the machine code where there is any.
pub fn step(release: &str, jit: bool) -> u32 {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if jit && version >= (6, 9) { 16 } else { 32 }
}

/// The deepest chain from the first function on, each counted in whole steps. There is no recursion: the verifier refuses it.
pub fn deepest(functions: &[Function], depths: &[u32], step: u32) -> Result<Chain> {
    let kept = functions.iter().filter(|function| function.is_kept).count();
    ensure!(
        kept == depths.len(),
        "{kept} functions, and the verifier counts {}",
        depths.len()
    );
    let mut counted = depths.iter().copied();
    let all: Vec<u32> = functions
        .iter()
        .map(|function| if function.is_kept { counted.next() } else { None })
        .map(Option::unwrap_or_default)
        .collect();
    Ok(from(0, functions, &all, step))
}

fn from(index: usize, functions: &[Function], depths: &[u32], step: u32) -> Chain {
    let function = &functions[index];
    let below = function
        .calls
        .iter()
        .filter(|&&callee| functions[callee].is_kept)
        .map(|&callee| from(callee, functions, depths, step))
        .max_by_key(|chain| chain.bytes);
    let own = depths[index].max(1).next_multiple_of(step);
    let mut chain = Chain {
        bytes: own,
        names: vec![format!("{} {own}", function.name)],
    };
    if let Some(below) = below {
        chain.bytes += below.bytes;
        chain.names.extend(below.names);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_s_line_is_a_sum() {
        let log = "verification time 5 usec\nstack depth 96+0+40\nprocessed 7 insns";
        assert_eq!(depths(log).unwrap(), [96, 0, 40]);
        assert_eq!(depths("stack depth 8 max 8\n").unwrap(), [8]);
        assert!(depths("processed 7 insns").is_err());
        assert!(depths("stack depth deep").is_err());
    }

    #[test]
    fn the_deepest_chain_counts_whole_steps() {
        let function = |name: &str, calls: &[usize]| Function {
            name: name.to_owned(),
            start: 0,
            is_kept: name != "gone",
            calls: calls.to_vec(),
        };
        let functions = [
            function("a", &[1, 2, 3]),
            function("gone", &[4]),
            function("b", &[3]),
            function("c", &[]),
            function("d", &[]),
        ];
        let chain = deepest(&functions, &[40, 0, 33, 500], 32).unwrap();
        assert_eq!(chain.bytes, 64 + 32 + 64);
        assert_eq!(chain.names, ["a 64", "b 32", "c 64"]);
        assert!(deepest(&functions, &[40], 32).is_err());
    }

    #[test]
    fn steps_are_smaller_since_6_9_where_there_is_machine_code() {
        assert_eq!(step("6.1.0-56-cloud-amd64", true), 32);
        assert_eq!(step("6.8.0", true), 32);
        assert_eq!(step("6.12.117+deb12-cloud-amd64", true), 16);
        assert_eq!(step("7.0", true), 16);
        assert_eq!(step("6.12.117", false), 32);
    }
}
