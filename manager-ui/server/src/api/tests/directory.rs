//! Logins by a directory (WS/T 545: SW-04, SW-10, SEC-02).

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bench::{Answer, Api, PASSWORD};
use super::slapd::Slapd;

fn code_of(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or_default()
}

/// Why logins failed, newest first.
async fn reasons(api: &Api, root: &str) -> Vec<String> {
    let failed = api.noted(root, "login_failed").await;
    let reason = |entry: &Value| entry["after"]["reason"].as_str().unwrap().to_owned();
    failed.iter().map(reason).collect()
}

pub(crate) async fn people_of_the_directory_log_in_by_both_ways_of_tls(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    let cookie = api.log_in("Chun").await;
    let me = api.get(&cookie, "/session").await;
    assert_eq!(me["login"], "chun");
    assert_eq!(me["name"], "Li Chun");
    assert_eq!(
        me["organisation"],
        api.get(&root, "/session").await["organisation"]
    );
    assert!(
        me["rights"]
            .as_array()
            .unwrap()
            .contains(&json!("rooms.join")),
        "{me}"
    );

    let api = api.with_directory(slapd.config("ldaps"));
    let again = api.log_in("chun@hospital.example").await;
    assert_eq!(api.get(&again, "/session").await["person"], me["person"]);
    let path = format!("/people/{}", me["person"].as_str().unwrap());
    assert_eq!(api.get(&root, &path).await["source"], "ldap");
    let kept: (Option<String>,) =
        sqlx::query_as("SELECT password FROM people WHERE login = 'chun'")
            .fetch_one(api.store.pool().unwrap())
            .await
            .unwrap();
    assert_eq!(kept.0, None, "no password is kept");

    let made = api.noted(&root, "create").await;
    assert_eq!(made[0]["after"]["source"], "ldap");
    assert_eq!(
        api.noted(&root, "grant").await[0]["after"]["role"],
        "clinician"
    );
    let body = json!({ "old": PASSWORD, "new": "eight grey horses" });
    let own = api.ask(&cookie, "PUT", "/session/password", body).await;
    assert_eq!(code_of(&own), "elsewhere");
    let body = json!({ "password": "eight grey horses" });
    let given = api
        .ask(&root, "PUT", &format!("{path}/password"), body)
        .await;
    assert_eq!(code_of(&given), "elsewhere");
    // The second factor is kept here, and asks the directory for the password.
    let body = json!({ "password": PASSWORD });
    let begun = api
        .ask(&cookie, "POST", "/session/authenticator", body)
        .await;
    assert_eq!(begun.status, StatusCode::CREATED, "{begun:?}");
}

pub(crate) async fn who_proves_nothing_to_the_directory_is_refused_and_noted(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    for (login, password) in [
        ("chun", "seven grey horse"),
        ("nobody", PASSWORD),
        ("no", PASSWORD),
        ("chun", ""),
        ("", PASSWORD),
        (&"x".repeat(1000), PASSWORD),
    ] {
        let answer = api.try_log_in(login, password).await;
        assert_eq!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "{login}: {answer:?}"
        );
        assert_eq!(code_of(&answer), "wrong_password");
    }
    let people = api.get(&root, "/people").await;
    assert_eq!(
        people["items"].as_array().unwrap().len(),
        1,
        "nobody was made"
    );
    let (wrong, none) = ("wrong password", "no such login");
    assert_eq!(
        reasons(&api, &root).await,
        [none, none, wrong, wrong, none, wrong]
    );

    // Whom nobody here knows yet is locked out all the same, under whatever name it is the same entry.
    for login in ["chun", "CHUN", "chun@hospital.example"] {
        api.try_log_in(login, "seven grey horse").await;
    }
    assert_eq!(code_of(&api.try_log_in("chun", PASSWORD).await), "locked");
    let api = api.with_directory(slapd.config("ldap"));

    // Whom the directory proved once is locked out here, before it locks the person out everywhere.
    api.log_in("chun").await;
    for _ in 0..5 {
        let answer = api.try_log_in("chun", "seven grey horse").await;
        assert_eq!(code_of(&answer), "wrong_password");
    }
    assert_eq!(code_of(&api.try_log_in("chun", PASSWORD).await), "locked");
}

pub(crate) async fn guesses_at_the_same_time_are_all_counted(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    api.log_in("chun").await;
    let guesses = (0..12).map(|_| api.try_log_in("chun", "seven grey horse"));
    let answers = futures_util::future::join_all(guesses).await;
    let wrong = |answer: &&Answer| code_of(answer) == "wrong_password";
    assert_eq!(answers.iter().filter(wrong).count(), 5, "{answers:?}");
    // No more than five reached the directory, so that it does not close the login everywhere.
    let told = reasons(&api, &root).await;
    let asked = told.iter().filter(|reason| *reason == "wrong password");
    assert_eq!(asked.count(), 5, "{told:?}");
}

pub(crate) async fn an_entry_with_several_logins_is_nobody(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    slapd.change(
        "dn: uid=chun,dc=hospital,dc=example\nchangetype: modify\nadd: uid\nuid: director\n",
    );
    for login in ["chun", "director"] {
        let answer = api.try_log_in(login, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    assert_eq!(reasons(&api, &root).await, ["no such login"; 2]);
}

pub(crate) async fn roles_of_groups_stay_where_the_configuration_gives_them(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let hospital = api.organisation(&root, &home, "B").await;
    let other = api.organisation(&root, &home, "C").await;
    let slapd = Slapd::start();
    let mut config = slapd.config("ldap");
    config.organisation = Some(hospital.clone());
    let api = api.with_directory(config);
    let cookie = api.log_in("chun").await;
    let me = api.get(&cookie, "/session").await;
    let path = format!("/people/{}", me["person"].as_str().unwrap());
    let moved = api
        .ask(&root, "PATCH", &path, json!({ "organisation": other }))
        .await;
    assert_eq!(moved.status, StatusCode::OK, "{moved:?}");
    api.log_in("chun").await;
    let grants = api.get(&root, &format!("{path}/grants")).await;
    assert_eq!(grants.as_array().unwrap().len(), 1);
    assert_eq!(grants[0]["organisation"], json!(hospital));
}

pub(crate) async fn what_is_typed_is_no_filter(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldaps"));
    for login in [
        "*",
        "ch*",
        "chun)(uid=*",
        "*)(objectClass=*))(|(uid=chun",
        "chun\\2a",
        "chun\u{1}",
        "uid=chun,dc=hospital,dc=example",
    ] {
        let answer = api.try_log_in(login, PASSWORD).await;
        assert_eq!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "{login}: {answer:?}"
        );
    }
    assert_eq!(reasons(&api, &root).await, ["no such login"; 7]);
}

pub(crate) async fn a_directory_that_is_away_shuts_out_its_own_people_alone(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    let cookie = api.log_in("chun").await;
    slapd.stop();
    let away = api.try_log_in("chun", PASSWORD).await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code_of(&away), "directory_away");
    assert_eq!(reasons(&api, &root).await, ["directory away"]);
    api.log_in("root").await;
    api.get(&cookie, "/session").await;
    slapd.listen();
    api.log_in("chun").await;
}

pub(crate) async fn a_directory_without_a_trusted_certificate_hears_no_password(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let other = Slapd::start();
    let mut api = api;
    for way in ["ldap", "ldaps"] {
        // Of an issuer whom nobody here trusts.
        let mut config = slapd.config(way);
        config.ca = other.config(way).ca;
        api = api.with_directory(config);
        assert_eq!(
            code_of(&api.try_log_in("chun", PASSWORD).await),
            "directory_away"
        );
        // Of another host.
        let mut config = slapd.config(way);
        config.url = config.url.replace("127.0.0.1", "localhost");
        api = api.with_directory(config);
        assert_eq!(
            code_of(&api.try_log_in("chun", PASSWORD).await),
            "directory_away"
        );
        // The issuers are not there.
        let mut config = slapd.config(way);
        config.ca = Some("/nonexistent/ca.pem".into());
        api = api.with_directory(config);
        assert_eq!(
            code_of(&api.try_log_in("chun", PASSWORD).await),
            "directory_away"
        );
    }
    assert_eq!(reasons(&api, &root).await, ["directory away"; 6]);
    let people = api.get(&root, "/people").await;
    assert_eq!(people["items"].as_array().unwrap().len(), 1);
}

pub(crate) async fn the_directory_takes_no_local_persons_place(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    // By the address of mail the directory finds its own `root`, whose password it has, too.
    let other = api.try_log_in("root@hospital.example", PASSWORD).await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED, "{other:?}");
    let told = reasons(&api, &root).await;
    assert_eq!(told, ["the directory has the login of a local person"]);
    assert_eq!(api.get(&root, "/session").await["name"], "管理员");
}

pub(crate) async fn roles_follow_the_groups_of_the_directory(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let hospital = api.organisation(&root, &home, "B").await;
    let slapd = Slapd::start();
    let mut config = slapd.config("ldap");
    config.organisation = Some(hospital.clone());
    config.roles.push(("cn=none,dc=x".into(), "auditor".into()));
    let api = api.with_directory(config);
    let cookie = api.log_in("chun").await;
    let me = api.get(&cookie, "/session").await;
    assert_eq!(me["organisation"], json!(hospital));
    let grants = format!("/people/{}/grants", me["person"].as_str().unwrap());
    // What somebody here gave stays, whatever the groups.
    let body = json!({ "role": "student", "organisation": hospital });
    api.make(&root, &grants, body).await;
    let held = async || -> Vec<String> {
        let held = api.get(&root, &grants).await;
        let role = |grant: &Value| grant["role"].as_str().unwrap().to_owned();
        held.as_array().unwrap().iter().map(role).collect()
    };
    assert_eq!(held().await, ["clinician", "student"]);
    let group = "dn: cn=doctors,dc=hospital,dc=example\nchangetype: modify\n";
    let member = "member\nmember: uid=chun,dc=hospital,dc=example\n";
    slapd.change(&format!("{group}delete: {member}"));
    api.log_in("chun").await;
    assert_eq!(held().await, ["student"]);
    assert_eq!(
        api.noted(&root, "revoke").await[0]["before"]["role"],
        "clinician"
    );
    slapd.change(&format!("{group}add: {member}"));
    api.log_in("chun").await;
    assert_eq!(held().await, ["student", "clinician"]);
}

/// Defect that this guards against: who got the login of somebody who had left got their place, too.
pub(crate) async fn somebody_is_the_entry_and_not_the_login(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    let person = async |cookie: &str| api.get(cookie, "/session").await["person"].clone();
    let chun = person(&api.log_in("chun").await).await;
    // The same entry under another login.
    slapd.change(
        "dn: uid=chun,dc=hospital,dc=example\nchangetype: modrdn\nnewrdn: uid=li.chun\n\
         deleteoldrdn: 1\n",
    );
    let renamed = api.log_in("li.chun").await;
    assert_eq!(person(&renamed).await, chun);
    assert_eq!(api.get(&renamed, "/session").await["login"], "li.chun");
    assert_eq!(
        api.noted(&root, "change").await[0]["after"]["login"],
        "li.chun"
    );
    // The first login is free again: whoever has it now is somebody else.
    slapd.change(
        "dn: uid=no,dc=hospital,dc=example\nchangetype: modrdn\nnewrdn: uid=chun\ndeleteoldrdn: 1\n",
    );
    slapd.change(&format!(
        "dn: uid=chun,dc=hospital,dc=example\nchangetype: modify\nadd: userPassword\n\
         userPassword: {PASSWORD}\n"
    ));
    let other = person(&api.log_in("chun").await).await;
    assert_ne!(other, chun);
    // A login that goes from one to the other takes nobody's place.
    slapd.change("dn: uid=li.chun,dc=hospital,dc=example\nchangetype: delete\n");
    slapd.change(
        "dn: uid=chun,dc=hospital,dc=example\nchangetype: modrdn\nnewrdn: uid=li.chun\n\
         deleteoldrdn: 1\n",
    );
    let refused = api.try_log_in("li.chun", PASSWORD).await;
    assert_eq!(code_of(&refused), "wrong_password");
    slapd.change(&format!(
        "dn: uid=chun,dc=hospital,dc=example\nchangetype: add\nobjectClass: inetOrgPerson\nuid: chun\n\
         cn: x\nsn: x\nuserPassword: {PASSWORD}\n"
    ));
    let refused = api.try_log_in("chun", PASSWORD).await;
    assert_eq!(code_of(&refused), "wrong_password");
    assert_eq!(
        reasons(&api, &root).await,
        [
            "the login is that of another entry",
            "somebody else has the entry's login"
        ]
    );
}

/// Who came before entries were told apart is known by the login once more, and by the entry then.
pub(crate) async fn who_has_no_subject_yet_is_given_one(api: Api) {
    let root = api.first().await;
    let slapd = Slapd::start();
    let api = api.with_directory(slapd.config("ldap"));
    let person = async |cookie: &str| api.get(cookie, "/session").await["person"].clone();
    let before = person(&api.log_in("chun").await).await;
    sqlx::query("UPDATE people SET subject = NULL WHERE login = 'chun'")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    assert_eq!(person(&api.log_in("chun").await).await, before);
    slapd.change(
        "dn: uid=chun,dc=hospital,dc=example\nchangetype: modrdn\nnewrdn: uid=li\ndeleteoldrdn: 1\n",
    );
    assert_eq!(person(&api.log_in("li").await).await, before);
    assert_eq!(reasons(&api, &root).await, Vec::<String>::new());
}
