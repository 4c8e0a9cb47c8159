//! What is the same for every operation of the description (OpenAPI 3.1), and so is written once.

use axum::http::StatusCode;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::Problem;
use crate::sessions;

/// Media type of RFC 9457.
const PROBLEM: &str = "application/problem+json";
/// Name of the way to prove who asks.
const SESSION: &str = "session";
/// And the one of programs.
const TOKEN: &str = "token";
/// Operations for who has not proved anything yet.
const OPEN: &[&str] = &["post_session", "post_setup", "get_login_methods"];

/// Operations get names that are theirs alone, responses a description, refusals their media type; and
/// what may refuse any request (too large, too many, database away) is said of each.
pub(super) fn finish(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(sessions::COOKIE)));
    let token = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "`consilium_…`, as `POST /session/tokens` tells it once",
        ));
    let schemes = &mut components.security_schemes;
    schemes.insert(SESSION.to_owned(), cookie.into());
    schemes.insert(TOKEN.to_owned(), SecurityScheme::Http(token.build()).into());
    components
        .schemas
        .insert(Problem::name().into_owned(), Problem::schema());
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let name = name(method, path);
            operation.security = Some(proofs(&name, operation));
            operation.operation_id = Some(name);
            finish_operation(operation);
        }
    }
}

/// `get_people_id` for `GET /api/v1/people/{id}`.
fn name(method: &str, path: &str) -> String {
    let words = path.split('/').filter(|word| !word.is_empty()).skip(2);
    let words = words.map(|word| word.trim_matches(['{', '}']).replace('-', "_"));
    let all: Vec<String> = std::iter::once(method.to_owned()).chain(words).collect();
    all.join("_")
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn finish_operation(operation: &mut Operation) {
    let told = operation.extensions.as_mut();
    // Its parameter says so from here on.
    if told.is_some_and(|told| told.remove("x-once").is_some()) {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(key().into());
    }
    let responses = &mut operation.responses.responses;
    let too_many = responses.entry("429".to_owned());
    too_many.or_insert_with(|| Response::new("").into());
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response {
            finish_response(status, response);
        }
    }
    let refused = ResponseBuilder::new()
        .description("Refused")
        .content(PROBLEM, problem())
        .build();
    responses.insert("default".to_owned(), refused.into());
}

/// What is sent for a thing to be done once (draft-ietf-httpapi-idempotency-key-header-07).
fn key() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255))
        .pattern(Some(r#"^"?[!#-\[\]-~]+"?$"#));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "1 to 255 characters, another for each thing: it is done once in a day, and the first answer is \
             told again. 409 while it is under way, 422 where another request came with it",
        ))
        .schema(Some(text))
        .build()
}

/// By what it is proved who asks: any one of these; by nothing where there are none.
fn proofs(name: &str, operation: &Operation) -> Vec<SecurityRequirement> {
    let proof = |scheme| SecurityRequirement::new::<_, [&str; 0], &str>(scheme, []);
    if OPEN.contains(&name) {
        return Vec::new();
    }
    let told = operation.extensions.as_ref();
    let takes_tokens =
        told.is_some_and(|told| told.contains_key("x-right") || told.contains_key("x-token"));
    let mut proofs = vec![proof(SESSION)];
    proofs.extend(takes_tokens.then(|| proof(TOKEN)));
    proofs
}

fn finish_response(status: &str, response: &mut Response) {
    let code = status.parse::<StatusCode>().ok();
    if response.description.is_empty() {
        let reason = code.and_then(|code| code.canonical_reason());
        response.description = reason.unwrap_or(status).to_owned();
    }
    if code == Some(StatusCode::TOO_MANY_REQUESTS) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer);
        let seconds = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("Seconds until it may be asked again"));
        let headers = &mut response.headers;
        headers.insert("Retry-After".to_owned(), seconds.build().into());
    }
    if code.is_some_and(|code| !code.is_success()) {
        response.content.clear();
        response
            .content
            .insert(PROBLEM.to_owned(), problem().into());
    }
}

fn problem() -> utoipa::openapi::Content {
    let schema = Ref::from_schema_name(Problem::name());
    ContentBuilder::new().schema(Some(schema)).build()
}
