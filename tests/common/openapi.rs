//! Checks values against the schemas of the OpenAPI document.
#![allow(missing_docs, reason = "test code")]

use serde_json::Value;

/// Checks `value` against the subset of JSON Schema that the document uses; an unknown keyword is a failure.
pub fn validate(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Err(fault) = fits(document, schema, value, at) {
        panic!("{fault}");
    }
}

fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let keywords = schema.as_object().ok_or_else(|| format!("{at}: no schema"))?;
    keywords.iter().try_for_each(|(keyword, rule)| holds(document, schema, keyword, rule, value, at))
}

/// Whether one keyword of a schema holds for a value.
fn holds(document: &Value, schema: &Value, keyword: &str, rule: &Value, value: &Value, at: &str) -> Result<(), String> {
    let claim = |is_true: bool, fault: String| if is_true { Ok(()) } else { Err(format!("{at}: {fault}")) };
    match keyword {
        "$ref" => {
            let pointer = rule.as_str().and_then(|rule| rule.strip_prefix('#')).unwrap_or_default();
            let target = document.pointer(pointer).ok_or_else(|| format!("{at}: {rule} leads nowhere"))?;
            fits(document, target, value, at)
        }
        "type" => claim(has_type(rule.as_str().unwrap_or_default(), value), format!("{value} is no {rule}")),
        "enum" => claim(rule.as_array().is_some_and(|rule| rule.contains(value)), format!("{value} is none of {rule}")),
        "items" => {
            let mut items = value.as_array().into_iter().flatten().enumerate();
            items.try_for_each(|(index, item)| fits(document, rule, item, &format!("{at}[{index}]")))
        }
        "required" => {
            let missing =
                rule.as_array().into_iter().flatten().find(|name| value.get(name.as_str().unwrap()).is_none());
            claim(missing.is_none(), format!("{missing:?} is missing in {value}"))
        }
        "properties" => {
            let mut described = value
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, inner)| Some((name, inner, rule.get(name)?)));
            described.try_for_each(|(name, inner, schema)| fits(document, schema, inner, &format!("{at}.{name}")))
        }
        "additionalProperties" => {
            let is_known = |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
            let mut others = value.as_object().into_iter().flatten().filter(|(name, _)| !is_known(name));
            others.try_for_each(|(name, inner)| {
                claim(rule != &Value::Bool(false), format!("{name} is not described"))?;
                fits(document, rule, inner, &format!("{at}.{name}"))
            })
        }
        "anyOf" => {
            let is_any = rule.as_array().into_iter().flatten().any(|schema| fits(document, schema, value, at).is_ok());
            claim(is_any, format!("{value} fits nothing of {rule}"))
        }
        "description" => Ok(()),
        other => Err(format!("{at}: the keyword {other} is not checked")),
    }
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}
