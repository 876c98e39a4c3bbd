//! The pipeline as its users see it: one request in, one answer out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use harbor_watch_sar::{CpuDetector, DetectRequest, Report, regions, run};

fn report(json: &str) -> Report {
    run(&DetectRequest::from_json(json.as_bytes()).unwrap(), &CpuDetector).unwrap()
}

#[test]
fn equal_requests_give_equal_bytes() {
    let json = r#"{"region":"singapore","sar_width":512,"sar_height":512,"seed":42,"density":0.5,"force_cpu":true}"#;
    assert_eq!(report(json).to_json().unwrap(), report(json).to_json().unwrap());
}

#[test]
fn another_seed_gives_another_answer() {
    assert_ne!(report(r#"{"seed":1}"#).to_json().unwrap(), report(r#"{"seed":2}"#).to_json().unwrap());
}

#[test]
fn most_vessels_are_found_and_little_else() {
    for size in [256, 512, 1024] {
        let (mut generated, mut detected, mut false_alarms) = (0, 0, 0);
        for region in regions() {
            for seed in 1..=4 {
                let id = region.id;
                let json = format!(r#"{{"region":"{id}","seed":{seed},"sar_width":{size},"sar_height":{size}}}"#);
                let stats = report(&json).stats;
                generated += stats.targets_generated;
                detected += stats.targets_detected;
                false_alarms += stats.false_alarms;
            }
        }
        println!("{size}: {generated} generated, {detected} detected, {false_alarms} false alarms");
        assert!(detected * 100 >= generated * 93, "{size}: {detected} of {generated}");
        assert!(false_alarms * 100 <= generated * 3, "{size}: {false_alarms} false alarms for {generated}");
    }
}

#[test]
fn the_figures_agree_with_the_features() {
    let report = report(r#"{"region":"rotterdam","density":1}"#);
    let stats = &report.stats;
    assert_eq!(stats.detections, report.features.len());
    assert_eq!(stats.dark, report.features.iter().filter(|feature| feature.properties.dark).count());
    assert_eq!(stats.matched + stats.dark, stats.detections);
    assert!(stats.dark > 0 && stats.matched > stats.dark && stats.ais_without_return > 0, "{stats:?}");
    assert_eq!(stats.compute_backend, "CPU");
}

#[test]
fn a_number_of_targets_is_taken_literally() {
    assert_eq!(report(r#"{"num_targets":12}"#).stats.targets_generated, 12);
}

#[test]
fn lengths_and_headings_are_near_what_ais_says() {
    let answer: serde_json::Value =
        serde_json::from_slice(&report(r#"{"sar_width":1024,"sar_height":1024,"density":1}"#).to_json().unwrap())
            .unwrap();
    let tracks = answer["ais_tracks"].as_array().unwrap();
    let (mut compared, mut close) = (0, 0);
    for feature in answer["features"].as_array().unwrap() {
        let seen = &feature["properties"];
        let Some(track) = tracks.iter().find(|track| track["properties"]["mmsi"] == seen["mmsi"]) else { continue };
        let said = track["properties"]["length_m"].as_f64().unwrap();
        let turned =
            (seen["heading_deg"].as_f64().unwrap_or(0.0) - track["properties"]["course_deg"].as_f64().unwrap()).abs();
        compared += 1;
        if (seen["length_m"].as_f64().unwrap() - said).abs() < 40.0 + said * 0.2 && turned.min(360.0 - turned) < 15.0 {
            close += 1;
        }
    }
    println!("{close} of {compared} close");
    assert!(compared > 20 && close * 10 >= compared * 8, "{close} of {compared}");
}

#[test]
fn the_smallest_and_the_oddest_scenes_work() {
    for (width, height) in [(64, 64), (64, 2048), (2048, 64)] {
        let stats = report(&format!(r#"{{"sar_width":{width},"sar_height":{height},"density":1}}"#)).stats;
        println!("{width}x{height}: {stats:?}");
        assert_eq!((stats.scene_width, stats.scene_height), (width, height));
    }
}

#[test]
fn the_answer_is_geojson() {
    let answer: serde_json::Value = serde_json::from_slice(&report("{}").to_json().unwrap()).unwrap();
    assert_eq!(answer["type"], "FeatureCollection");
    let bbox: Vec<f64> = answer["bbox"].as_array().unwrap().iter().filter_map(serde_json::Value::as_f64).collect();
    for feature in answer["features"].as_array().unwrap() {
        assert_eq!((&feature["type"], &feature["geometry"]["type"]), (&"Feature".into(), &"Point".into()));
        let longitude = feature["geometry"]["coordinates"][0].as_f64().unwrap();
        let latitude = feature["geometry"]["coordinates"][1].as_f64().unwrap();
        assert!((bbox[0]..bbox[2]).contains(&longitude) && (bbox[1]..bbox[3]).contains(&latitude));
    }
}
