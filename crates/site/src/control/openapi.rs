//! The API described as OpenAPI (<https://spec.openapis.org/oas/v3.1.0>): a file kept by hand, and
//! held to the routes by a test.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DESCRIPTION: &str = include_str!("openapi.json");

pub(super) async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::events::SiteEvent;

    fn description() -> Value {
        serde_json::from_str(DESCRIPTION).unwrap()
    }

    /// The paths and methods in the source of the router.
    fn routes() -> BTreeSet<(String, String)> {
        let source = include_str!("../control.rs");
        let mut routes = BTreeSet::new();
        for route in source.split(".route(").skip(1) {
            let path = route.split('"').nth(1).unwrap();
            let handlers = &route[..route.find("\n        .").unwrap_or(route.len())];
            for method in ["get", "post", "put", "delete", "patch"] {
                if handlers.contains(&format!("{method}(")) {
                    routes.insert((path.to_owned(), method.to_owned()));
                }
            }
        }
        routes
    }

    #[test]
    fn it_describes_exactly_the_routes_that_there_are() {
        let described = description();
        let mut found = BTreeSet::new();
        for (path, item) in described["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                found.insert((path.clone(), method.clone()));
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(operation["responses"].is_object(), "{method} {path}");
            }
        }
        assert_eq!(found, routes());
    }

    /// Every reference in a description leads somewhere.
    fn check_references(root: &Value, at: &Value) {
        match at {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(root.pointer(pointer).is_some(), "{reference}");
                }
                fields.values().for_each(|value| check_references(root, value));
            }
            Value::Array(items) => items.iter().for_each(|item| check_references(root, item)),
            _ => {}
        }
    }

    #[test]
    fn its_references_lead_somewhere_and_its_events_are_ours() {
        let described = description();
        check_references(&described, &described);
        let event = SiteEvent {
            number: 1,
            unix_time: 0.0,
            kind: String::new(),
            subject: String::new(),
            detail: String::new(),
            cause: Some(1),
            by: Some(String::new()),
        };
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let schema = &described["components"]["schemas"]["Event"];
        assert_eq!(names(&schema["properties"]), names(&json!(event)));
        let overview = include_str!("../overview.rs");
        let fields = overview.split("pub struct Overview {").nth(1).unwrap();
        let fields = fields.split("\n}").next().unwrap().lines();
        let fields = fields.filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
        let fields: BTreeSet<String> = fields.map(str::to_owned).collect();
        let schema = &described["components"]["schemas"]["Status"];
        assert_eq!(names(&schema["properties"]), fields);
    }
}
