"""What a comparison says where no target label exists: the scores of each objective, and which they prefer."""

from job.evaluation.compare_scores import mean_scores, preference, preferred, score_table

TOO_FEW = "; ensemble+infomax needs 3 runs that all stored predictions"
NO_ENSEMBLE = {"ensemble+infomax": None, "ensemble": None}


def row(infomax: float, transfer_score: float, mixval: float) -> dict[str, float]:
    named = {"infomax": infomax, "transfer_score": transfer_score, "mixval": mixval}
    return {"val/source_accuracy": 0.9} | {f"selection/{name}": value for name, value in named.items()}


def comparison(**rows: list[dict[str, float]]) -> dict:
    return {"objectives": {name.replace("_plus_", "+"): {"scores": mean_scores(each)} for name, each in rows.items()}}


def test_the_mean_over_seeds_of_each_score():
    found = mean_scores([row(1.0, 1.5, 0.25), row(2.0, 1.75, 0.75)])
    assert found == NO_ENSEMBLE | {"transfer_score": 1.625, "infomax": 1.5, "mixval": 0.5}


def test_a_score_that_one_run_lacks_is_not_averaged():
    """Runs of an earlier version lack some; without a source infomax lacks a part."""
    old = {name: value for name, value in row(1.0, 1.5, 0.25).items() if name != "selection/transfer_score"}
    assert mean_scores([row(1.0, 1.5, 0.25), old])["transfer_score"] is None
    alone = {name: value for name, value in row(1.0, 1.5, 0.25).items() if not name.startswith("val/")}
    assert mean_scores([alone]) == NO_ENSEMBLE | {"transfer_score": 1.5, "infomax": None, "mixval": 0.25}
    agreeing = {"selection/ensemble": 0.75}
    assert mean_scores([row(1.0, 1.5, 0.25) | agreeing])["ensemble+infomax"] == 1.25
    assert mean_scores([alone | agreeing])["ensemble+infomax"] is None
    assert set(mean_scores([{}]).values()) == {None}


def test_the_preferred_objective_is_never_the_one_that_reads_target_labels():
    found = comparison(
        source_only=[row(1.6, 1.4, 0.5)], dann_plus_mcc=[row(1.9, 1.7, 0.4)], train_on_target=[row(1.99, 1.9, 0.9)]
    )
    assert preferred(found["objectives"]) == {
        "transfer_score": "dann+mcc",
        "infomax": "dann+mcc",
        "mixval": "source_only",
    }
    assert preference(found) == [
        "without target labels: transfer_score and infomax prefer dann+mcc, mixval prefers source_only; "
        f"between methods transfer_score errs least (docs/training.md){TOO_FEW}"
    ]
    assert score_table(found)[:2] == [
        ["objective", "transfer_score", "infomax", "mixval"],
        ["source_only", "1.400", "1.600", "0.500"],
    ]


def test_scores_that_agree_are_one_part():
    found = comparison(source_only=[row(1.6, 1.4, 0.3)], dann=[row(1.9, 1.7, 0.4)])
    assert preference(found) == [f"without target labels: transfer_score, infomax and mixval prefer dann{TOO_FEW}"]


def test_among_the_settings_of_a_method_another_score_errs_least():
    one, other = "dann (optimizer.lr=0.01)", "dann (optimizer.lr=0.1)"
    found = comparison(**{one: [row(1.6, 1.7, 0.3)], other: [row(1.9, 1.4, 0.4)]}, train_on_target=[row(2, 2, 1)])
    assert preference(found) == [
        f"without target labels: transfer_score prefers {one}, infomax and mixval prefer {other}; "
        f"among the settings of a method infomax errs least (docs/training.md){TOO_FEW}"
    ]
    del found["objectives"][one]["scores"]["infomax"]
    assert "among the settings of a method transfer_score errs least" in preference(found)[0]
    found = comparison(**{one: [row(1.6, 1.7, 0.3)], other: [row(1.9, 1.4, 0.4)]}, source_only=[row(1, 1, 0.1)])
    assert "between methods transfer_score errs least" in preference(found)[0]


def test_the_ensemble_errs_least_wherever_it_is_known():
    for one, among in (("source_only", "between methods"), ("dann (seed=1)", "among the settings of a method")):
        found = comparison(**{one: [row(1.6, 1.7, 0.3)], "dann (seed=0)": [row(1.9, 1.4, 0.4)]})
        for objective, agreement in zip(found["objectives"].values(), (0.9, 0.7), strict=True):
            objective["scores"] |= {"ensemble": agreement, "ensemble+infomax": agreement + 0.8}
        assert preference(found) == [
            f"without target labels: ensemble+infomax, ensemble and transfer_score prefer {one}, infomax and mixval "
            f"prefer dann (seed=0); {among} ensemble+infomax errs least (docs/training.md)"
        ]


def test_features_of_different_networks_are_not_compared():
    found = comparison(source_only=[row(1.6, 1.7, 0.3)], dann=[row(1.9, 1.4, 0.4)], train_on_target=[row(2, 2, 1)])
    for name, backbone in (("source_only", "compact"), ("dann", "compact"), ("train_on_target", "resnet18")):
        found["objectives"][name]["network"] = {"model.backbone": backbone}
    assert "transfer_score" in preferred(found["objectives"]), "that of train_on_target is not compared"
    found["objectives"]["dann"]["network"] = {"model.backbone": "resnet18"}
    assert preferred(found["objectives"]) == {"infomax": "dann", "mixval": "dann"}
    assert preference(found) == [
        f"without target labels: infomax and mixval prefer dann{TOO_FEW}; transfer_score does not compare different "
        "networks"
    ]


def test_one_objective_leaves_no_choice():
    assert preference(comparison(dann=[row(1.9, 1.7, 0.4)], train_on_target=[row(1.99, 1.9, 0.9)])) == []
    assert score_table(comparison(dann=[{}])) == []
    mixed = comparison(source_only=[row(1.6, 1.4, 0.3)], shot=[{"selection/mixval": 0.5}])
    assert preferred(mixed["objectives"]) == {"mixval": "shot"}
    assert score_table(mixed)[2] == ["shot", "-", "-", "0.500"]
