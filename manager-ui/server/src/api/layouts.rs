//! Layouts of composed pictures, for who chooses one (MCU-11).

use axum::Json;
use mcu_api::layout::{Canvas, Cell, Layout, WHOLE};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use crate::State;
use crate::asker::LoggedIn;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list))
}

/// One layout.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LayoutView)]
struct View {
    /// What a room's `layout` says.
    name: &'static str,
    /// What people call it, in English.
    en: &'static str,
    /// What people call it, in Chinese.
    zh: &'static str,
    /// Ratio of the sides: `16:9` or `4:3`.
    canvas: &'static str,
    /// So many cells, the first ones, are those of who spoke last.
    leads: usize,
    /// Cells of each of its arrangements, fewest first: left, top, width and height in parts of the
    /// canvas's sides, 0 to 1. A later cell lies over an earlier one.
    arrangements: Vec<Vec<[f64; 4]>>,
}

impl From<Layout> for View {
    fn from(layout: Layout) -> Self {
        let (en, zh) = layout.titles();
        let part = |length: u16| f64::from(length) / f64::from(WHOLE);
        let cell = |cell: &Cell| [cell.left, cell.top, cell.width, cell.height].map(part);
        let arrangements = layout.arrangements();
        Self {
            name: layout.name(),
            en,
            zh,
            canvas: match layout.canvas() {
                Canvas::Wide => "16:9",
                Canvas::Narrow => "4:3",
            },
            leads: layout.leads(),
            arrangements: arrangements
                .map(|cells| cells.iter().map(cell).collect())
                .collect(),
        }
    }
}

/// All layouts that a room or a site may have, the default first.
#[utoipa::path(get, path = "/layouts", tag = "rooms",
    responses((status = 200, body = Vec<View>), (status = 401, body = Problem)))]
async fn list(_who: LoggedIn) -> Json<Vec<View>> {
    Json(Layout::all().map(View::from).collect())
}
