//! The record as a file, for an auditor's own programs (WS/T 545: SW-07, PRV-07).

use axum::body::{Body, Bytes};
use axum::extract::State as StateOf;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audit::{self as record, EntryView, Which};
use super::{Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Entry, Object};
use crate::rights::Right;
use crate::syslog::message;

/// Entries that are read at a time: what a slow reader holds is bounded by that.
const CHUNK: u32 = 500;

/// Columns of a table.
const HEAD: &str = "seq,at_ms,actor,actor_name,source,action,object_kind,object,organisation,\
                    before,after,hash\r\n";
/// By this sign, programs for tables know that the text is UTF-8.
const UTF_8: &str = "\u{feff}";

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(export))
}

/// What kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExportFormat)]
enum Format {
    /// A table (RFC 4180). What a program for tables would take for a formula begins with `'`.
    #[default]
    Csv,
    /// One JSON object a line, as `GET /api/v1/audit` has them.
    Ndjson,
    /// One message of syslog a line (RFC 5424), each an Audit Message of DICOM (PS3.15 §A.5), as audit
    /// record repositories take them (IHE ATNA).
    Atna,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `csv` if not given.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// What was done, as `GET /api/v1/audit` shows it with the same filters, as one file, newest first:
/// all that was there when it was asked for. `limit` and `before` do not count.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(Wanted, Which),
    extensions(("x-right" = json!("audit.view"))),
    responses((status = 200, content((String = "text/csv"), (String = "application/x-ndjson"), (String = "text/plain"))), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn export(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(wanted): Params<Wanted>,
    Params(which): Params<Which>,
) -> Result<Response, Problem> {
    who.need(&state.store, Right::AuditView).await?;
    note(&state, &who, wanted.format, &which).await?;
    let format = wanted.format;
    let file = Export {
        state,
        who,
        which: Which {
            before: None,
            ..which
        },
        format,
        is_begun: false,
        is_done: false,
    };
    let chunks = stream::try_unfold(file, |mut file| async move {
        let chunk = file.next().await.map_err(|problem| {
            // What was sent is not all: the answer breaks off, and does not look whole.
            std::io::Error::other(format!("the export broke off: {problem:?}"))
        })?;
        Ok::<_, std::io::Error>(chunk.map(|chunk| (chunk, file)))
    });
    let (kind, disposition) = match format {
        Format::Csv => (
            "text/csv; charset=utf-8",
            "attachment; filename=\"audit.csv\"",
        ),
        Format::Ndjson => (
            "application/x-ndjson",
            "attachment; filename=\"audit.ndjson\"",
        ),
        Format::Atna => (
            "text/plain; charset=utf-8",
            "attachment; filename=\"audit.log\"",
        ),
    };
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((head, Body::from_stream(chunks)).into_response())
}

/// That the record was taken away is in it, too, before anything of it is sent.
async fn note(state: &State, who: &LoggedIn, format: Format, which: &Which) -> Result<(), Problem> {
    let mut tx = state.store.begin().await?;
    let object = Object {
        kind: "audit",
        id: None,
        organisation: Some(&who.person.organisation),
    };
    let format = match format {
        Format::Csv => "csv",
        Format::Ndjson => "ndjson",
        Format::Atna => "atna",
    };
    // By what it was narrowed down, not to what: what is typed there may be anything.
    let typed = [
        ("actor", which.actor.is_some()),
        ("action", which.action.is_some()),
        ("object", which.object.is_some()),
    ];
    let filters: Vec<&str> = typed
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    let after = json!({ "format": format, "filters": filters, "from_ms": which.from_ms,
        "to_ms": which.to_ms });
    let change = Change {
        before: None,
        after: Some(after),
    };
    audit::write(&mut tx, &who.asker(), Action::Export, object, change).await?;
    Ok(tx.commit().await?)
}

/// A file that is being written.
struct Export {
    state: State,
    who: LoggedIn,
    which: Which,
    format: Format,
    is_begun: bool,
    is_done: bool,
}

impl Export {
    /// The next part; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.is_done {
            return Ok(None);
        }
        // A right that went meanwhile ends it, and not as if there were no more.
        self.who.need(&self.state.store, Right::AuditView).await?;
        let rows = record::rows(&self.state, &self.who, &self.which, i64::from(CHUNK)).await?;
        self.is_done = rows.len() < CHUNK as usize;
        self.which.before = rows.last().map(|row| row.seq);
        let mut text = String::new();
        if !std::mem::replace(&mut self.is_begun, true) && self.format == Format::Csv {
            text.push_str(UTF_8);
            text.push_str(HEAD);
        }
        for row in rows {
            self.format.write(row, &mut text);
        }
        Ok(Some(text.into()))
    }
}

impl Format {
    fn write(self, entry: Entry, out: &mut String) {
        match self {
            Self::Atna => {
                out.push_str(&message::atna_line(&message::host(), &entry));
                out.push('\n');
            }
            Self::Ndjson => {
                out.push_str(&json!(EntryView::from(entry)).to_string());
                out.push('\n');
            }
            Self::Csv => {
                let entry = EntryView::from(entry);
                let json = |value: Option<serde_json::Value>| value.map(|value| value.to_string());
                let fields = [
                    Some(entry.seq.to_string()),
                    Some(entry.at_ms.to_string()),
                    entry.actor,
                    Some(entry.actor_name),
                    entry.source,
                    Some(entry.action),
                    Some(entry.object_kind),
                    entry.object,
                    entry.organisation,
                    json(entry.before),
                    json(entry.after),
                    Some(entry.hash),
                ];
                let fields = fields.map(|field| cell(&field.unwrap_or_default()));
                out.push_str(&fields.join(","));
                out.push_str("\r\n");
            }
        }
    }
}

/// A field of a table (RFC 4180 §2). One that begins like a formula would be reckoned by the program
/// that opens the file: a sign before it makes it text.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = match is_formula {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\r', '\n', '\'']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_field_of_a_table_is_a_formula_or_two_fields() {
        for (text, expected) in [
            ("root", "root"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("=cmd|'/c calc'!A1", "\"'=cmd|'/c calc'!A1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@sum", "\"'@sum\""),
            ("\t=1", "\"'\t=1\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
