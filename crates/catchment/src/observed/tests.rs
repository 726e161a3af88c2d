use proptest::prelude::*;

use super::*;

#[test]
fn paths_are_read_with_commas_and_with_tabs() {
    let expected = vec![SeenPath { monitor: Asn(64510), path: vec![Asn(64510), Asn(64500)] }];
    let files: [&[u8]; 3] = [
        b"collector,monitor,path\nrrc00,64510,64510 64500\n",
        b"rrc00\t64510\t64510,64500\r\n",
        b"# a remark\n\nrrc00,AS64510,64510 64500 {64511,64512}",
    ];
    for text in files {
        assert_eq!(parse_paths(text), Ok(expected.clone()));
    }
}

#[test]
fn errors_name_the_line() {
    let line = |error: ObservedError| match error {
        ObservedError::Line { line, .. } => line,
        other => panic!("{other}"),
    };
    for (text, at) in [("a,1,1\na,b,c", 2), ("a,1", 1), ("a,1,", 1), ("\na,0,1", 2)] {
        assert_eq!(line(parse_paths(text.as_bytes()).unwrap_err()), at, "{text}");
    }
    for (text, at) in [
        ("", 1),
        ("asn,place", 1),
        ("# a remark\nasn,site\n", 2),
        ("asn,site\n1", 2),
        ("asn,site\n1,", 2),
        ("asn,site,weight\n1,a,1\n1,a,-1", 3),
        ("prefix,asn,site\n192.0.2.0,1,a", 2),
    ] {
        assert_eq!(line(parse_landings(text.as_bytes()).unwrap_err()), at, "{text}");
    }
}

#[test]
fn a_measured_site_that_the_experiment_lacks_is_refused() {
    let manifest = Manifest::parse(
        "version = 1\norigins = [64500]\n[[experiment]]\nname = \"e\"\n\
         [[experiment.site]]\nname = \"ams\"\nneighbors = [64501]\n\
         [[experiment.measured]]\nname = \"ping\"\nfile = \"p\"\n",
    )
    .unwrap();
    let refused = Observations::gather(&manifest, |_| Ok(b"asn,site\n64510,nrt\n".to_vec()));
    assert!(refused.unwrap_err().to_string().contains("site nrt is not one of experiment e"));
}

proptest! {
    #[test]
    fn paths_that_are_written_are_read(
        paths in prop::collection::vec((1..u32::MAX, prop::collection::vec(1..u32::MAX, 1..9)), 0..9)
    ) {
        let mut text = String::new();
        for (monitor, path) in &paths {
            let path: Vec<String> = path.iter().map(u32::to_string).collect();
            text.extend(["c,", &monitor.to_string(), ",", &path.join(" "), "\n"]);
        }
        let expected: Vec<SeenPath> = paths
            .into_iter()
            .map(|(monitor, path)| SeenPath {
                monitor: Asn(monitor),
                path: path.into_iter().map(Asn).collect(),
            })
            .collect();
        prop_assert_eq!(parse_paths(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn no_octets_make_a_parser_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_paths(&octets);
        let _ = parse_landings(&octets);
        let _ = Manifest::parse(&String::from_utf8_lossy(&octets));
        let _ = Collected::new(&[Asn(64500)], &[]).read(&octets);
    }
}
