//! What people may do. A right is held at an organisation by way of a role, and reaches its whole
//! subtree; nothing is allowed that no role allows, and a denial holds before any allowance
//! (WS/T 545: PRV-01 to PRV-03, MGT-04).

use serde::{Deserialize, Serialize};
use sqlx::{Any, AnyConnection, Row, Transaction};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::store::{Error, now_ms};

/// Whose rights are asked for: those of a person, or of one of the person's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject(String);

impl Subject {
    /// All that a person may do.
    pub(crate) fn person(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// What a person may do and one of the person's tokens, too.
    pub(crate) fn token(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// The id, as [`allowed!`] takes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// SQL that is true where the [`Subject`] `$1`, a person or a token, holds the right `$2`, or the one
/// that the given SQL names, at the organisation `o`. A token holds what both its person and its scope
/// allow.
macro_rules! allowed {
    () => {
        $crate::rights::allowed!("$2")
    };
    ($right:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM grants g JOIN role_rights r ON r.role = g.role \
             JOIN organisations s ON s.id = g.organisation \
             WHERE g.person = COALESCE((SELECT t.person FROM tokens t WHERE t.id = $1), $1) \
             AND r.right_name = ",
            $right,
            " AND g.effect = 'allow' AND substr(o.path, 1, length(s.path)) = s.path) \
             AND NOT EXISTS (SELECT 1 FROM grants g JOIN role_rights r ON r.role = g.role \
             JOIN organisations s ON s.id = g.organisation \
             WHERE g.person = COALESCE((SELECT t.person FROM tokens t WHERE t.id = $1), $1) \
             AND r.right_name = ",
            $right,
            " AND g.effect = 'deny' AND substr(o.path, 1, length(s.path)) = s.path) \
             AND (NOT EXISTS (SELECT 1 FROM tokens t WHERE t.id = $1) \
             OR EXISTS (SELECT 1 FROM token_rights x WHERE x.token = $1 AND x.right_name = ",
            $right,
            ")))"
        )
    };
}
pub(crate) use allowed;

/// Declares the rights and their names.
macro_rules! rights {
    ($($(#[$doc:meta])* $right:ident = $name:literal,)*) => {
        /// One thing that somebody may do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Right {
            $($(#[$doc])* #[serde(rename = $name)] $right,)*
        }

        impl Right {
            /// Each right.
            pub const ALL: &[Self] = &[$(Self::$right,)*];

            /// Its name in the interface and in the database.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$right => $name,)*
                }
            }
        }
    };
}

rights! {
    /// See organisations.
    OrganisationsView = "organisations.view",
    /// Make, rename, move and remove organisations below.
    OrganisationsManage = "organisations.manage",
    /// See people and what they may do.
    PeopleView = "people.view",
    /// Make, change and remove people, and give and take roles.
    PeopleManage = "people.manage",
    /// See roles.
    RolesView = "roles.view",
    /// Make, change and remove own roles.
    RolesManage = "roles.manage",
    /// See rooms.
    RoomsView = "rooms.view",
    /// Make, change and remove rooms.
    RoomsManage = "rooms.manage",
    /// Mute, remove and call sites of a meeting.
    RoomsControl = "rooms.control",
    /// Look at the pictures of meetings from outside.
    MeetingsWatch = "meetings.watch",
    /// Enter rooms.
    RoomsJoin = "rooms.join",
    /// See accounts of terminals.
    AccountsView = "accounts.view",
    /// Make, change and remove accounts of terminals.
    AccountsManage = "accounts.manage",
    /// See trunks.
    TrunksView = "trunks.view",
    /// Make, change and remove trunks.
    TrunksManage = "trunks.manage",
    /// See terminals and their alarms.
    TerminalsView = "terminals.view",
    /// Configure terminals.
    TerminalsManage = "terminals.manage",
    /// See recordings and lectures.
    RecordingsView = "recordings.view",
    /// Publish, change and remove recordings and lectures.
    RecordingsManage = "recordings.manage",
    /// See the record of what was done.
    AuditView = "audit.view",
    /// Make, change and remove webhooks, and see what became of their deliveries.
    WebhooksManage = "webhooks.manage",
    /// See the server's state.
    SystemView = "system.view",
    /// Change the server's settings.
    SystemManage = "system.manage",
}

impl ToSchema for Right {}

/// A string, one of the names. (The derived one would tell the names of the variants.)
impl PartialSchema for Right {
    fn schema() -> RefOr<Schema> {
        let names = Self::ALL.iter().map(|right| right.as_str());
        let names = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(names));
        names.into()
    }
}

impl Right {
    /// The right of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|right| right.as_str() == name)
    }
}

/// A role that every server has.
#[derive(Debug)]
pub struct BuiltIn {
    /// Its id, which is the same on every server.
    pub id: &'static str,
    /// What it allows.
    pub rights: &'static [Right],
}

/// The role of the first administrator.
pub const SYSTEM_ADMINISTRATOR: &str = "system_administrator";

/// The roles that every server has.
pub const BUILT_IN: &[BuiltIn] = {
    use Right::*;
    &[
        BuiltIn {
            id: SYSTEM_ADMINISTRATOR,
            rights: Right::ALL,
        },
        BuiltIn {
            id: "organisation_administrator",
            rights: &[
                OrganisationsView,
                OrganisationsManage,
                PeopleView,
                PeopleManage,
                RolesView,
                RolesManage,
                RoomsView,
                RoomsManage,
                RoomsControl,
                MeetingsWatch,
                RoomsJoin,
                AccountsView,
                AccountsManage,
                TerminalsView,
                TerminalsManage,
                RecordingsView,
                RecordingsManage,
                AuditView,
                WebhooksManage,
            ],
        },
        BuiltIn {
            id: "network_operator",
            rights: &[
                OrganisationsView,
                RoomsView,
                RoomsControl,
                AccountsView,
                AccountsManage,
                TrunksView,
                TrunksManage,
                TerminalsView,
                TerminalsManage,
                SystemView,
            ],
        },
        BuiltIn {
            id: "clinician",
            rights: &[OrganisationsView, RoomsView, RoomsJoin, RecordingsView],
        },
        BuiltIn {
            id: "teacher",
            rights: &[
                OrganisationsView,
                RoomsView,
                RoomsJoin,
                RecordingsView,
                RecordingsManage,
            ],
        },
        BuiltIn {
            id: "student",
            rights: &[RecordingsView],
        },
        BuiltIn {
            id: "auditor",
            rights: &[OrganisationsView, PeopleView, RolesView, AuditView],
        },
    ]
};

/// Writes the roles that every server has, as this version knows them.
pub(crate) async fn write_roles(tx: &mut Transaction<'static, Any>) -> Result<(), Error> {
    for role in BUILT_IN {
        sqlx::query(
            "INSERT INTO roles (id, organisation, name, created_ms) VALUES ($1, NULL, $1, $2) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(role.id)
        .bind(now_ms())
        .execute(&mut **tx)
        .await?;
        write_rights(tx, role.id, role.rights).await?;
    }
    Ok(())
}

/// Sets what a role allows.
pub(crate) async fn write_rights(
    tx: &mut Transaction<'static, Any>,
    role: &str,
    rights: &[Right],
) -> Result<(), Error> {
    sqlx::query("DELETE FROM role_rights WHERE role = $1")
        .bind(role)
        .execute(&mut **tx)
        .await?;
    for right in rights {
        sqlx::query("INSERT INTO role_rights (role, right_name) VALUES ($1, $2)")
            .bind(role)
            .bind(right.as_str())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Whether a person or token holds a right at an organisation.
pub(crate) async fn holds(
    connection: &mut AnyConnection,
    subject: &Subject,
    right: Right,
    organisation: &str,
) -> Result<bool, Error> {
    let row = sqlx::query(concat!(
        "SELECT COUNT(*) AS n FROM organisations o WHERE o.id = $3 AND ",
        allowed!()
    ))
    .bind(subject.as_str())
    .bind(right.as_str())
    .bind(organisation)
    .fetch_one(connection)
    .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// Whether a person or token holds a right at an organisation and at all below it: a denial further
/// down leaves a hole.
pub(crate) async fn holds_throughout(
    connection: &mut AnyConnection,
    subject: &Subject,
    right: Right,
    organisation: &str,
) -> Result<bool, Error> {
    let row = sqlx::query(concat!(
        "SELECT COUNT(*) AS n, COUNT(CASE WHEN ",
        allowed!(),
        " THEN 1 END) AS held FROM organisations o JOIN organisations t ON t.id = $3 \
         WHERE substr(o.path, 1, length(t.path)) = t.path"
    ))
    .bind(subject.as_str())
    .bind(right.as_str())
    .bind(organisation)
    .fetch_one(connection)
    .await?;
    let (all, held): (i64, i64) = (row.try_get("n")?, row.try_get("held")?);
    Ok(all > 0 && held == all)
}

/// Whether a person or token holds a right anywhere.
pub(crate) async fn holds_anywhere(
    connection: &mut AnyConnection,
    subject: &Subject,
    right: Right,
) -> Result<bool, Error> {
    let row = sqlx::query(concat!(
        "SELECT COUNT(*) AS n FROM organisations o WHERE ",
        allowed!()
    ))
    .bind(subject.as_str())
    .bind(right.as_str())
    .fetch_one(connection)
    .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// Rights that a person or token holds somewhere.
pub(crate) async fn of_subject(
    connection: &mut AnyConnection,
    subject: &Subject,
) -> Result<Vec<Right>, Error> {
    let mut held = Vec::new();
    for right in Right::ALL {
        if holds_anywhere(connection, subject, *right).await? {
            held.push(*right);
        }
    }
    Ok(held)
}

/// Whether `subject` holds all that a role allows, at an organisation and below: only then may it be
/// handed on.
pub(crate) async fn covers_role(
    connection: &mut AnyConnection,
    subject: &Subject,
    role: &str,
    organisation: &str,
) -> Result<bool, Error> {
    let rows = sqlx::query("SELECT right_name FROM role_rights WHERE role = $1")
        .bind(role)
        .fetch_all(&mut *connection)
        .await?;
    for row in rows {
        let name: String = row.try_get("right_name")?;
        let Some(right) = Right::from_name(&name) else {
            continue;
        };
        if !holds_throughout(connection, subject, right, organisation).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether `subject` holds all that `other` holds: only then may it take the other's place, by a new
/// password for one.
pub(crate) async fn covers_person(
    connection: &mut AnyConnection,
    subject: &Subject,
    other: &str,
) -> Result<bool, Error> {
    let rows = sqlx::query(
        "SELECT DISTINCT g.role, g.organisation FROM grants g WHERE g.person = $1 AND g.effect = 'allow'",
    )
    .bind(other)
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        let (role, organisation): (String, String) =
            (row.try_get("role")?, row.try_get("organisation")?);
        if !covers_role(connection, subject, &role, &organisation).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
