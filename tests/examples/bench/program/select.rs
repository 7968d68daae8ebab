//! Which rows are measured.

use anyhow::{Result, ensure};

use super::case::Case;

#[derive(clap::Args)]
pub struct Selection {
    /// Only rows with this in their names; several times for several
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Only rows with so many flows
    #[arg(long, value_name = "COUNT", value_delimiter = ',')]
    flows: Vec<u32>,
}

impl Selection {
    /// Cases with their flows. Those that share a balancer follow each other.
    pub fn plan(&self) -> Result<Vec<(Case, u32)>> {
        let mut plan = Vec::new();
        for case in Case::all()
            .into_iter()
            .filter(|case| self.wants(&case.to_string()))
        {
            let flows = case.flows().iter().filter(|flows| self.has(**flows));
            plan.extend(flows.map(|&flows| (case, flows)));
        }
        let is_empty = plan.is_empty() && self.bases().is_empty() && !self.wants(super::tables::NAME);
        ensure!(!is_empty, "no row has such a name and so many flows");
        Ok(plan)
    }

    /// Families and flows of the bases.
    pub fn bases(&self) -> Vec<(bool, u32)> {
        if !self.wants("base/") {
            return Vec::new();
        }
        let all = [(true, 1), (false, 1), (true, 100_000), (false, 100_000)];
        all.into_iter().filter(|(_, flows)| self.has(*flows)).collect()
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| name.contains(pattern))
    }

    fn has(&self, flows: u32) -> bool {
        self.flows.is_empty() || self.flows.contains(&flows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(only: &[&str], flows: &[u32]) -> Selection {
        Selection {
            only: only.iter().map(|&pattern| pattern.to_owned()).collect(),
            flows: flows.to_vec(),
        }
    }

    #[test]
    fn patterns_are_parts_of_names_and_any_of_them_will_do() {
        let plan = selection(&["ipip/tcp4/settled", "gue/udp6"], &[1, 100_000])
            .plan()
            .unwrap();
        let names: Vec<String> = plan
            .iter()
            .map(|(case, flows)| format!("{case} {flows}"))
            .collect();
        assert_eq!(
            names,
            [
                "ipip/tcp4/settled 1",
                "ipip/tcp4/settled 100000",
                "gue/udp6/settled 1",
                "gue/udp6/settled 100000"
            ]
        );
    }

    #[test]
    fn without_a_pattern_all_rows_are_measured() {
        let all = selection(&[], &[]);
        let rows: usize = Case::all().iter().map(|case| case.flows().len()).sum();
        assert_eq!(all.plan().unwrap().len(), rows);
        assert_eq!(all.bases().len(), 4);
    }

    #[test]
    fn a_pattern_that_names_no_row_is_an_error() {
        assert!(selection(&["ipip/tcp5"], &[]).plan().is_err());
        assert!(selection(&["ipip"], &[7]).plan().is_err());
    }
}
