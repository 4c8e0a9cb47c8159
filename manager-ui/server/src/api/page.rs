//! Long lists, a page at a time.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::Limit;

/// Most items of a page.
const MAX: u32 = 200;
const USUAL: u32 = 50;
/// Longest that is looked for, in characters.
const MAX_SEARCH: usize = 100;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// Items of a page; 50 if not given.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub limit: Option<Limit<MAX>>,
    /// Only what has this in its name, whatever the case.
    #[serde(default)]
    #[param(value_type = Option<String>, max_length = 100)]
    pub q: Option<Search>,
}

/// What is looked for: 100 characters at most.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Search(String);

impl TryFrom<String> for Search {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.chars().count() <= MAX_SEARCH {
            true => Ok(Self(text)),
            false => Err("too long"),
        }
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// `after` of the next page; none on the last.
    pub next: Option<String>,
}

impl Paging {
    /// How many rows to ask for: one more than a page has, to see whether there is a next.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.len()) + 1
    }

    fn len(&self) -> u32 {
        self.limit.map_or(USUAL, Limit::get)
    }

    /// Pattern of SQL's `LIKE … ESCAPE '!'` for what is looked for, in lower case.
    pub(crate) fn pattern(&self) -> String {
        let text = self
            .q
            .as_ref()
            .map_or("", |search| &search.0)
            .to_lowercase();
        let escaped = text
            .replace('!', "!!")
            .replace('%', "!%")
            .replace('_', "!_");
        format!("%{escaped}%")
    }

    /// A page of these rows.
    pub(crate) fn page<T>(&self, mut rows: Vec<T>, cursor: impl Fn(&T) -> String) -> Page<T> {
        let len = self.len() as usize;
        let next = match rows.len() > len {
            true => {
                rows.truncate(len);
                rows.last().map(cursor)
            }
            false => None,
        };
        Page { items: rows, next }
    }
}
