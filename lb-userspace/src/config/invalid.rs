//! A setting that cannot be: one line that names the thing, the field, the problem and the remedy.

use std::fmt;

/// What is wrong with a setting, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// From the outermost thing to the innermost: `service "web"`, `backend "b1"`.
    things: Vec<String>,
    field: Option<&'static str>,
    problem: String,
    place: Vec<Step>,
}

/// One step from the root of the settings to a value, so that a reader of text can find its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(&'static str),
    /// Into a list.
    Index(usize),
}

impl Invalid {
    /// A problem of one field.
    pub(super) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        let place = vec![Step::Key(field)];
        Self {
            things: Vec::new(),
            field: Some(field),
            problem: problem.into(),
            place,
        }
    }

    /// A problem of a list or table as a whole.
    pub(super) fn whole(problem: impl Into<String>) -> Self {
        Self {
            things: Vec::new(),
            field: None,
            problem: problem.into(),
            place: Vec::new(),
        }
    }

    /// The field is a list, and it is this element of it.
    pub(super) fn element(mut self, index: usize) -> Self {
        self.place.push(Step::Index(index));
        self
    }

    /// The problem is inside a thing of this name.
    pub(super) fn of(mut self, thing: impl Into<String>) -> Self {
        self.things.insert(0, thing.into());
        self
    }

    /// The problem is below these steps.
    pub(super) fn at(mut self, steps: &[Step]) -> Self {
        self.place.splice(0..0, steps.iter().copied());
        self
    }

    /// The way to the value from where the validation started.
    #[must_use]
    pub fn place(&self) -> &[Step] {
        &self.place
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.things.is_empty() {
            write!(f, "{}: ", self.things.join(", "))?;
        }
        if let Some(field) = self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Invalid {}
