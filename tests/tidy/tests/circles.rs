//! No circles: each part can be understood by what it names, and none of those need it.

use keyferry_tidy::modules::{by_folder, circle, modules};

#[test]
fn folders_of_the_binary_name_each_other_one_way_only() {
    let folders = by_folder(&modules("."));
    let edges: usize = folders.values().map(|named| named.len()).sum();
    assert!(folders.len() > 6 && edges > 8, "the check found its subjects: {folders:?}");
    assert_eq!(circle(&folders), None, "a circle: move down what both need");
}

#[test]
fn modules_of_the_crates_behind_it_name_each_other_one_way_only() {
    for (krate, least) in [("sync", 30), ("push", 12), ("stores", 5), ("cluster", 15)] {
        let modules = modules(krate);
        assert!(modules.len() >= least, "the check found its subjects: {modules:?}");
        assert_eq!(circle(&modules), None, "{krate} has a circle: move down what both need");
    }
}
