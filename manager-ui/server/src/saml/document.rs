//! What of a document is looked at before a library reads it. Libraries verify a signature by doing what it
//! says: they open what it refers to and transform it as it wants, before they know whose it is.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// What a signature of SAML does (SAML core §5.4): canonical forms, its own removal, signatures and digests by
/// SHA-2.
const ALGORITHMS: [&str; 13] = [
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    "http://www.w3.org/2001/10/xml-exc-c14n#",
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    "http://www.w3.org/2006/12/xml-c14n11",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
    "http://www.w3.org/2001/04/xmlenc#sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
];
/// Parts of signatures that refer to, or hold, what is not the message.
const FORBIDDEN: [&[u8]; 7] = [
    b"Object",
    b"Manifest",
    b"RetrievalMethod",
    b"XPath",
    b"stylesheet",
    b"CipherReference",
    b"EncryptedData",
];
/// The response's and the assertion's.
const MAX_SIGNATURES: usize = 2;

/// Refuses what no message of SAML holds (SAML core §1.1, §5.4) and parsers take for different things: types
/// and entities, comments, CDATA, processing instructions, and another encoding.
pub(super) fn refuse_declarations(xml: &str) -> Result<(), &'static str> {
    let is_forbidden = |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r');
    if xml.contains(is_forbidden) || xml.contains(['\u{fffe}', '\u{ffff}']) {
        return Err("characters that no document has");
    }
    let rest = match xml.trim_start_matches('\u{feff}').strip_prefix("<?xml") {
        Some(declared) => {
            let declared = declared.split_once("?>");
            let (head, rest) = declared.ok_or("an XML declaration without end")?;
            let head = head.replace('\'', "\"").to_ascii_lowercase();
            let mut parts = head.split_ascii_whitespace();
            let is_known = |part: &str| {
                matches!(part, "version=\"1.0\"" | "encoding=\"utf-8\"")
                    || part.starts_with("standalone=\"") && part.len() < 17
            };
            if !parts.all(is_known) {
                return Err("another declaration than of XML 1.0 in UTF-8");
            }
            rest
        }
        None => xml,
    };
    match rest.contains("<!") || rest.contains("<?") {
        true => Err("declarations, comments or instructions"),
        false => Ok(()),
    }
}

/// Refuses signatures that refer to anything but an element of the document by its id, or transform it by
/// anything but [`ALGORITHMS`]. Names count whatever their namespace, which refuses more, not less.
pub(super) fn refuse_references(xml: &str) -> Result<(), &'static str> {
    let mut reader = Reader::from_str(xml);
    let mut signatures = 0;
    loop {
        match reader.read_event() {
            Ok(Event::Start(element) | Event::Empty(element)) => {
                let name = element.local_name();
                if FORBIDDEN.contains(&name.as_ref()) {
                    return Err("a part of a signature that no message of SAML has");
                }
                signatures += usize::from(name.as_ref() == b"Signature");
                if signatures > MAX_SIGNATURES {
                    return Err("too many signatures");
                }
                refuse_attributes(&element)?;
            }
            Ok(Event::Eof) => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err("not well-formed"),
        }
    }
}

fn refuse_attributes(element: &BytesStart<'_>) -> Result<(), &'static str> {
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|_| "not well-formed")?;
        let value = attribute
            .unescape_value()
            .map_err(|_| "an entity that is not of XML")?;
        let is_good = match attribute.key.local_name().as_ref() {
            b"URI" => value.is_empty() || value.strip_prefix('#').is_some_and(is_id),
            b"Algorithm" => ALGORITHMS.contains(&&*value),
            _ => true,
        };
        if !is_good {
            return Err("a reference or an algorithm that no message of SAML has");
        }
    }
    Ok(())
}

/// An id of the document (NCName, of ASCII alone).
fn is_id(text: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.chars().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_of_xml_1_0_in_utf_8() {
        for good in [
            "<a/>",
            "\u{feff}<a/>",
            "<?xml version=\"1.0\"?>\n<a/>",
            "<?xml version='1.0' encoding='utf-8' standalone='no'?><a/>",
        ] {
            assert_eq!(refuse_declarations(good), Ok(()), "{good}");
        }
        for bad in [
            "<?xml version=\"1.0\" encoding=\"UTF-7\"?><a/>",
            "<?xml version=\"1.0\" encoding=\"UTF-7\" standalone='\"utf-8\"'?><a/>",
            "<?xml version=\"1.0\"",
            "<\0a\0/\0>\0",
            "<a><!-- --></a>",
            "<!DOCTYPE a><a/>",
            "<a><![CDATA[x]]></a>",
            "<a><?x?></a>",
        ] {
            assert!(refuse_declarations(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_signature_refers_to_the_document_alone() {
        let signed = |uri: &str, algorithm: &str| {
            format!(
                "<d:Signature><d:Reference URI=\"{uri}\"><d:Transform Algorithm=\"{algorithm}\"/>\
                 </d:Reference></d:Signature>"
            )
        };
        for uri in ["", "#_1-a.b", "&#35;_1"] {
            assert_eq!(
                refuse_references(&signed(uri, ALGORITHMS[0])),
                Ok(()),
                "{uri}"
            );
        }
        for uri in [
            "file:///dev/zero",
            "http://127.0.0.1/",
            "fil&#101;:///etc/hostname",
            "#xpointer(/)",
            "#",
            "x",
        ] {
            assert!(
                refuse_references(&signed(uri, ALGORITHMS[0])).is_err(),
                "{uri}"
            );
        }
        for algorithm in [
            "http://www.w3.org/TR/1999/REC-xslt-19991116",
            "http://www.w3.org/TR/1999/REC-xpath-19991116",
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
            "",
        ] {
            assert!(
                refuse_references(&signed("", algorithm)).is_err(),
                "{algorithm}"
            );
        }
        for bad in [
            "<d:Object/>",
            "<Manifest/>",
            "<a b='&c;'/>",
            "<a b='1' b='2'/>",
            "<a></b>",
            &signed("", ALGORITHMS[0]).repeat(3),
        ] {
            assert!(refuse_references(bad).is_err(), "{bad}");
        }
    }
}
