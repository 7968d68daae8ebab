//! Where a program's instructions come from: functions, and lines of source.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use aya_obj::{Function, Object, btf::Btf};

/// What begins at an instruction, and goes on until something else does.
#[derive(Default)]
pub struct Places(BTreeMap<usize, String>);

/// What has been run of a place.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    pub place: String,
    pub instructions: u64,
}

impl Places {
    /// Functions, by the names of their types.
    pub fn functions(function: &Function, names: &HashMap<u32, String>) -> Self {
        let starts = function.func_info.func_info.iter().map(|function| {
            let at = function.insn_off as usize;
            let name = names.get(&function.type_id).cloned();
            (at, name.unwrap_or_else(|| format!("function at {at}")))
        });
        Self(starts.collect())
    }

    /// Lines, as `lb-ebpf/pick/home.rs:70`: of functions that are inlined, their own.
    pub fn lines(object: &Object, function: &Function) -> Self {
        let Some(strings) = object.btf.as_ref().map(Btf::to_bytes) else {
            return Self::default();
        };
        let starts = function.line_info.line_info.iter().map(|line| {
            let file = string(&strings, line.file_name_off).unwrap_or_default();
            (
                line.insn_off as usize,
                format!("{}:{}", short(&file), line.line_col >> 10),
            )
        });
        Self(starts.collect())
    }

    /// How many of the instructions that were run are of each, the most first.
    pub fn shares(&self, runs: &[u64]) -> Vec<Share> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        let ends = self.0.keys().copied().skip(1).chain([runs.len()]);
        for ((&start, place), end) in self.0.iter().zip(ends) {
            *sums.entry(place).or_default() += runs[start..end].iter().sum::<u64>();
        }
        let shares = sums.into_iter().filter(|(_, instructions)| *instructions > 0);
        let mut shares: Vec<Share> = shares
            .map(|(place, instructions)| Share {
                place: place.to_owned(),
                instructions,
            })
            .collect();
        shares.sort_by_key(|share| Reverse(share.instructions));
        shares
    }
}

/// A string of BTF, which has them in a section behind its types (Documentation/bpf/btf.rst).
fn string(btf: &[u8], offset: u32) -> Option<String> {
    let word = |at: usize| -> Option<usize> {
        let bytes = btf.get(at..at + 4)?.first_chunk()?;
        usize::try_from(u32::from_ne_bytes(*bytes)).ok()
    };
    let (header, strings) = (word(4)?, word(16)?);
    let bytes = btf.get(header + strings + usize::try_from(offset).ok()?..)?;
    let len = bytes.iter().position(|&byte| byte == 0)?;
    String::from_utf8(bytes[..len].to_vec()).ok()
}

/// From the package on.
fn short(file: &str) -> String {
    match file.rsplit_once("/src/") {
        Some((package, file)) => {
            let package = package.rsplit_once('/').map_or(package, |(_, name)| name);
            format!("{package}/{file}")
        }
        None => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_on_until_another_begins_and_may_come_again() {
        let places = [(0, "a"), (2, "b"), (3, "a"), (5, "c")];
        let places = Places(places.map(|(at, name)| (at, name.to_owned())).into());
        let shares = places.shares(&[1, 1, 7, 3, 0, 0]);
        let share = |place: &str, instructions| Share {
            place: place.to_owned(),
            instructions,
        };
        assert_eq!(shares, [share("b", 7), share("a", 5)]);
    }

    #[test]
    fn strings_are_behind_the_header_and_the_types() {
        let mut btf = vec![0; 24];
        btf[4..8].copy_from_slice(&24_u32.to_ne_bytes());
        btf[16..20].copy_from_slice(&2_u32.to_ne_bytes());
        btf.extend(b"TT\0one\0two\0");
        assert_eq!(string(&btf, 5).as_deref(), Some("two"));
        assert_eq!(string(&btf, 99), None);
        assert_eq!(short("/a/lb-ebpf/src/pick/home.rs"), "lb-ebpf/pick/home.rs");
    }
}
