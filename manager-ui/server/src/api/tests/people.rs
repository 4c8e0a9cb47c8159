//! Organisations, people and roles.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bench::Api;

pub(crate) async fn nobody_hands_on_more_than_they_hold(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let boss = "organisation_administrator";
    let first = api
        .person(&root, &home, "other", "system_administrator")
        .await;
    api.person(&root, &a, "boss", boss).await;
    let cookie = api.log_in("boss").await;
    let guest = api.nobody(&cookie, &a, "guest").await;
    let grant = |role: &str, at: &str| json!({ "role": role, "organisation": at });
    let grants = format!("/people/{guest}/grants");
    let more = grant("system_administrator", &a);
    let more = api.ask(&cookie, "POST", &grants, more).await;
    assert_eq!(more.status, StatusCode::FORBIDDEN);
    assert_eq!(more.body["code"], "more_than_own");
    let above = api.ask(&cookie, "POST", &grants, grant(boss, &home)).await;
    assert_eq!(above.status, StatusCode::NOT_FOUND);
    let own = api.ask(&cookie, "POST", &grants, grant(boss, &a)).await;
    assert_eq!(own.status, StatusCode::CREATED);
    let twice = api.ask(&cookie, "POST", &grants, grant(boss, &a)).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);

    // Nor by a role of one's own, nor by the password of somebody who holds more.
    let role = json!({ "organisation": a, "name": "x", "rights": ["system.manage"] });
    let role = api.ask(&cookie, "POST", "/roles", role).await;
    assert_eq!(role.status, StatusCode::FORBIDDEN);
    let moved = json!({ "organisation": a });
    let path = format!("/people/{first}");
    let moved = api.ask(&root, "PATCH", &path, moved).await;
    assert_eq!(moved.status, StatusCode::OK);
    let body = json!({ "password": "eight grey horses" });
    let path = format!("/people/{first}/password");
    let refused = api.ask(&cookie, "PUT", &path, body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let path = format!("/people/{first}");
    let refused = api.ask(&cookie, "DELETE", &path, Value::Null).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.body["code"], "more_than_own");
}

pub(crate) async fn a_denial_holds_before_any_allowance(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let (a, b) = (
        api.organisation(&root, &home, "A").await,
        api.organisation(&root, &home, "B").await,
    );
    let person = api
        .person(&root, &home, "boss", "organisation_administrator")
        .await;
    let viewer = json!({ "organisation": home, "name": "people", "rights": ["people.view"] });
    let viewer = api.make(&root, "/roles", viewer).await;
    for login in ["of_a", "of_b"] {
        let at = if login == "of_a" { &a } else { &b };
        api.nobody(&root, at, login).await;
    }
    let cookie = api.log_in("boss").await;
    let logins = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|p| p["login"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        logins(&api.get(&cookie, "/people").await),
        ["boss", "of_a", "of_b", "root"]
    );
    let denial = json!({ "role": viewer, "organisation": a, "effect": "deny" });
    let grants = format!("/people/{person}/grants");
    let denial = api.make(&root, &grants, denial).await;
    assert_eq!(
        logins(&api.get(&cookie, "/people").await),
        ["boss", "of_b", "root"]
    );
    let in_use = api
        .ask(&root, "DELETE", &format!("/roles/{viewer}"), Value::Null)
        .await;
    assert_eq!(in_use.status, StatusCode::CONFLICT);
    let path = format!("{grants}/{denial}");
    let taken = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(taken.status, StatusCode::NO_CONTENT);
    assert_eq!(logins(&api.get(&cookie, "/people").await).len(), 4);
}

pub(crate) async fn a_subtree_moves_with_its_people_and_rights(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    let ward = api.organisation(&root, &a, "ward").await;
    let bed = api.organisation(&root, &ward, "bed").await;
    api.person(&root, &b, "boss", "organisation_administrator")
        .await;
    api.nobody(&root, &bed, "nurse").await;
    let cookie = api.log_in("boss").await;
    let count = async || {
        api.get(&cookie, "/people?q=NURSE").await["items"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count().await, 0);
    let path = format!("/organisations/{ward}");
    let moved = api.ask(&root, "PATCH", &path, json!({ "parent": b })).await;
    assert_eq!(moved.status, StatusCode::OK, "{moved:?}");
    assert_eq!(moved.body["path"], format!("{home}/{b}/{ward}/"));
    assert_eq!(count().await, 1);
    let deep = api.get(&cookie, &format!("/organisations/{bed}")).await;
    assert_eq!(deep["path"], format!("{home}/{b}/{ward}/{bed}/"));
    let path = format!("/organisations/{b}");
    let circle = api
        .ask(&root, "PATCH", &path, json!({ "parent": bed }))
        .await;
    assert_eq!(circle.status, StatusCode::UNPROCESSABLE_ENTITY);
    // Who holds the right below only takes nothing out to elsewhere.
    let path = format!("/organisations/{ward}");
    let out = api
        .ask(&cookie, "PATCH", &path, json!({ "parent": a }))
        .await;
    assert_eq!(out.status, StatusCode::NOT_FOUND);
    let in_use = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(in_use.status, StatusCode::CONFLICT);
}

pub(crate) async fn long_lists_come_in_pages_and_are_searched(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    for n in 0..5 {
        api.nobody(&root, &home, &format!("p{n}")).await;
    }
    api.nobody(&root, &home, "p_5").await;
    let mut after = String::new();
    let mut seen = Vec::new();
    loop {
        let page = api.get(&root, &format!("/people?q=p&limit=2{after}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(
            items
                .iter()
                .map(|p| p["login"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    seen.sort();
    assert_eq!(seen, ["p0", "p1", "p2", "p3", "p4", "p_5"]);
    let literal = api.get(&root, "/people?q=p_").await;
    assert_eq!(literal["items"].as_array().unwrap().len(), 1, "no wildcard");
}

pub(crate) async fn who_is_denied_something_below_hands_it_on_nowhere_above(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let ward = api.organisation(&root, &a, "ward").await;
    let boss = api
        .person(&root, &a, "boss", "organisation_administrator")
        .await;
    let viewer = json!({ "organisation": a, "name": "people", "rights": ["people.view"] });
    let viewer = api.make(&root, "/roles", viewer).await;
    let denial = json!({ "role": viewer, "organisation": ward, "effect": "deny" });
    api.make(&root, &format!("/people/{boss}/grants"), denial)
        .await;
    let cookie = api.log_in("boss").await;
    let other = api.nobody(&cookie, &a, "other").await;
    let grant = json!({ "role": "auditor", "organisation": a });
    let grants = format!("/people/{other}/grants");
    let refused = api.ask(&cookie, "POST", &grants, grant).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.body["code"], "more_than_own");
    // Nor is the role that denies it emptied.
    let path = format!("/roles/{viewer}");
    let refused = api
        .ask(&cookie, "PATCH", &path, json!({ "rights": [] }))
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.body["code"], "oneself");
}

pub(crate) async fn a_move_gives_no_rights_that_the_mover_does_not_hold(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    let ward = api.organisation(&root, &a, "ward").await;
    api.person(&root, &b, "boss_b", "organisation_administrator")
        .await;
    let mover = ["organisations.view", "organisations.manage"];
    let mover = json!({ "organisation": home, "name": "mover", "rights": mover });
    let mover = api.make(&root, "/roles", mover).await;
    let person = api.nobody(&root, &home, "mover").await;
    let grant = json!({ "role": mover, "organisation": home });
    api.make(&root, &format!("/people/{person}/grants"), grant)
        .await;
    let cookie = api.log_in("mover").await;
    let path = format!("/organisations/{ward}");
    let refused = api
        .ask(&cookie, "PATCH", &path, json!({ "parent": b }))
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert_eq!(refused.body["code"], "more_than_own");
    let up = api
        .ask(&cookie, "PATCH", &path, json!({ "parent": home }))
        .await;
    assert_eq!(up.status, StatusCode::OK, "nobody gains by this: {up:?}");

    // A role of A's own that somebody has in the ward does not leave A with it.
    let back = api.ask(&root, "PATCH", &path, json!({ "parent": a })).await;
    assert_eq!(back.status, StatusCode::OK, "{back:?}");
    let own = json!({ "organisation": a, "name": "own", "rights": ["rooms.view"] });
    let own = api.make(&root, "/roles", own).await;
    let nurse = api.nobody(&root, &ward, "nurse").await;
    let grant = json!({ "role": own, "organisation": ward });
    api.make(&root, &format!("/people/{nurse}/grants"), grant)
        .await;
    let refused = api.ask(&root, "PATCH", &path, json!({ "parent": b })).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
}

pub(crate) async fn moves_and_new_organisations_at_once_leave_a_tree(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    let ward = api.organisation(&root, &a, "ward").await;
    let path = format!("/organisations/{ward}");
    for (n, to) in [&b, &a, &b, &a, &b, &a].into_iter().enumerate() {
        let name = format!("bed {n}");
        tokio::join!(
            api.ask(&root, "PATCH", &path, json!({ "parent": to })),
            api.organisation(&root, &ward, &name),
        );
    }
    let all = api.get(&root, "/organisations?limit=200").await;
    let all = all["items"].as_array().unwrap();
    assert_eq!(all.len(), 10);
    for organisation in all {
        let parent = all.iter().find(|o| o["id"] == organisation["parent"]);
        let above = parent.map_or("", |parent| parent["path"].as_str().unwrap());
        let path = format!("{above}{}/", organisation["id"].as_str().unwrap());
        assert_eq!(organisation["path"], path);
    }
}

pub(crate) async fn nobody_moves_himself(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let b = api.organisation(&root, &home, "B").await;
    let id = api.get(&root, "/session").await["person"].clone();
    let path = format!("/people/{}", id.as_str().unwrap());
    let body = |organisation: &str| json!({ "organisation": organisation, "name": "王院长" });
    let moved = api.ask(&root, "PATCH", &path, body(&b)).await;
    assert_eq!(moved.status, StatusCode::UNPROCESSABLE_ENTITY, "{moved:?}");
    assert_eq!(moved.body["code"], "oneself");
    let stays = api.ask(&root, "PATCH", &path, body(&home)).await;
    assert_eq!(stays.status, StatusCode::OK, "{stays:?}");
}
