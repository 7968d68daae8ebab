//! What does not depend on how fast a machine is, for CI: how large the programs are, what they cost the verifier, and what packets
//! cost in instructions.
//!
//! Reading order: [`number`] (what is counted), [`object`] (in the programs as they are built), [`packets`] and [`machine`] (of packets), [`expected`]
//! (what is compared). The example `verify` has what a kernel says of them.

#[path = "../../verify/accept.rs"]
mod accept;
mod expected;
mod machine;
mod number;
mod object;
mod packets;
mod places;
#[path = "../../verify/stack.rs"]
mod stack;
#[path = "../../verify/statistics.rs"]
mod statistics;
#[path = "../../verify/variant.rs"]
mod variant;

use anyhow::{Context as _, Result, ensure};

use self::{
    expected::{Difference, Expected},
    number::{Number, Origin},
    packets::Subjects,
};
use crate::{
    host,
    program::case::Case,
    report::{Output, Report, Row, Samples},
};

/// Counts that do not depend on how fast a machine is, beside those that are expected
///
/// Of each program as it is built: instructions, calls of helpers, and those of them that are lookups in maps. Of a packet of each kind, as an interpreter runs it
/// with the maps that the kernel has: instructions, calls of helpers but lookups, and lookups. Of each variant as the
/// kernel takes it: instructions that the verifier has followed, translated instructions, bytes of machine code, and of stack. The
/// expected counts are in docs/bench/counts.json: those of programs for the compiler that built them, those of the kernel for its
/// series besides. What is not in there is not compared.
#[derive(clap::Args)]
pub struct Args {
    /// Fail where a count is not within 2 % of what is expected
    #[arg(long)]
    check: bool,
    /// Write the counts down as those that are expected
    #[arg(long, conflicts_with = "check")]
    update: bool,
    /// Only print which functions and lines the instructions are of that a packet of this kind takes, as its rows are called: dsr/tcp4/new
    #[arg(long, value_name = "CASE", conflicts_with_all = ["check", "update"])]
    profile: Option<String>,
}

/// Lines that a profile shows.
const LINES: usize = 40;
const UPDATE: &str = "if that is as it should be, write it down: cargo xtask bench counts --update";

pub fn run(args: &Args, output: &Output) -> Result<()> {
    host::prepare()?;
    if let Some(name) = &args.profile {
        return profile(name);
    }
    let (costs, accepted) = accept::all()?;
    ensure!(accepted, "the kernel refuses a program");
    let mut numbers = object::numbers()?;
    numbers.extend(Subjects::load()?.numbers()?);
    for cost in &costs {
        numbers.extend(number::of_kernel(cost));
    }
    let origin = Origin::here()?;
    let mut expected = Expected::read()?;
    // A check says what is wrong, and no more.
    if !args.check || output.is_wanted() {
        report(&numbers, &expected, &origin)?.finish(output)?;
    }
    if args.update {
        expected.update(&origin, &numbers);
        return expected.write();
    }
    if args.check {
        return check(&numbers, &expected, &origin);
    }
    Ok(())
}

fn report(numbers: &[Number], expected: &Expected, origin: &Origin) -> Result<Report> {
    let mut report = Report::new("counts")?;
    for number in numbers {
        report.add(row(number, expected.of(origin, number)));
    }
    Ok(report)
}

/// Prints where a packet's instructions are.
fn profile(name: &str) -> Result<()> {
    let case = Case::all().into_iter().find(|case| case.to_string() == *name);
    let case = case.with_context(|| format!("no packets are called {name}"))?;
    let [functions, lines] = Subjects::load()?.profile(case)?;
    let all: u64 = functions.iter().map(|share| share.instructions).sum();
    println!("  {name}: {all} instructions, of the functions");
    for share in &functions {
        println!("  {:>8} {}", share.instructions, share.place);
    }
    println!("  and of the lines, inlined functions' by their own");
    for share in lines.iter().take(LINES) {
        println!("  {:>8} {}", share.instructions, share.place);
    }
    Ok(())
}

fn row(number: &Number, wanted: Option<u64>) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "counts of a program")]
    let one = |count: u64| -> Samples { std::iter::once(count as f64).collect() };
    let base = if wanted.is_some() { "expected" } else { "itself" };
    let wanted = one(wanted.unwrap_or(number.count));
    Row::new(&number.name, 1, number.unit, &one(number.count), base, &wanted)
}

/// What `--check` says.
fn check(numbers: &[Number], expected: &Expected, origin: &Origin) -> Result<()> {
    if !expected.has(origin) {
        println!(
            "  no counts are expected of programs by rustc {}: nothing is compared",
            origin.compiler
        );
        return Ok(());
    }
    let compared = numbers
        .iter()
        .filter_map(|number| Some((number, expected.of(origin, number)?)));
    let (mut problems, mut as_expected) = (Vec::new(), 0);
    for (number, wanted) in compared {
        match Difference::between(number, wanted) {
            Some(difference) => problems.push(difference.to_string()),
            None => as_expected += 1,
        }
    }
    let one_sided = expected.missing(origin, numbers);
    problems.extend(
        one_sided
            .iter()
            .map(|name| format!("{name}: counted or expected, not both")),
    );
    println!("  {as_expected} of {} counts are as expected", numbers.len());
    ensure!(
        problems.is_empty(),
        "counts are not as expected:\n  {}\n{UPDATE}",
        problems.join("\n  ")
    );
    Ok(())
}
