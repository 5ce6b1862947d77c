"""What tags mean, over the frameworks' own namings and the labelled logs in ../shared."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.evaluate import subjects
from watcher.model import Better, Meaning, Role, Selector
from watcher.roles import Pin, Pool, Traits, assign, meaning, traits
from watcher.rules import default_rules
from watcher.runs import Place, place

TRAIN, VAL = Selector(role=Role.TRAIN_LOSS), Selector(role=Role.VAL_LOSS)

MAIN_TRAIN = """
loss train_loss train_loss_step train_loss_epoch trainLoss TRAIN_LOSS train-loss train.loss
train/loss Loss/train Loss/Train loss_train train/epoch_loss batch_loss epoch_loss tr_loss
total_loss train/total_loss losses/total Train/Samples/train_loss loss/train/total running_loss
latest_loss Trainer/loss train_inner/loss Loss_train/Loss metrics/train/loss metrics/loss
"""
MAIN_VAL = """
val_loss epoch_val_loss valid/loss valid_loss valLoss eval/loss eval_loss Loss/test Loss/Validation
Loss/val validation-loss dev_loss validation/epoch_loss validation/loss eval/average_loss
avg_val_loss total_val_loss validation/evaluation_loss_vs_iterations train/val_loss
evaluate/loss test/loss Loss_val/Loss
"""
COMPONENTS = """
train/box_loss train/dfl_loss loss_cls loss_rpn_loc smooth_l1_loss kl_loss loss_kld nll vq_loss
cross_entropy learn/Logloss train/metrics/CrossEntropy dice_loss loss/dice loss1
"""
NOTHING = """
hp_metric hparam/accuracy train/explained_variance losses/explained_variance train/approx_kl
losses/entropy Policy/Entropy train/clip_fraction train/clip_range rollout/ep_len_mean train/std
loss_scale loss-scale loss_weight lossless trainable_params num_params best_val_loss max_loss
gradients/layer1 grad_2.0_norm/layer1.weight parameter_mean/encoder.weight weights/conv1
gradient_norm/encoder.weight activation/D/mean time data_time eta_seconds eval/runtime
eval/samples_per_second
train/total_flos rewards/chosen train/reward_std memory/allocated Average
progression/batch_size global_step momentum std_dev
"""
OTHERS = {
    Role.LEARNING_RATE: "lr LR learning_rate train/learning_rate lr-AdamW lr-SGD/pg1 x/lr0"
    " train/epoch_learning_rate Policy/Learning_Rate Train/Samples/lr learning-rate",
    Role.GRAD_NORM: "grad_norm train/grad_norm grad-norm gnorm grad_2.0_norm_total gradient_norm"
    " l2_norm/grad/global optim/total_grad_norm",
    Role.EPOCH: "epoch train/epoch trainer/epoch",
    Role.THROUGHPUT: "time/fps global_step/sec charts/SPS it/s throughput/tokens_per_sec"
    " train/train_samples_per_second steps_per_second",
    Role.REWARD: "rollout/ep_rew_mean eval/mean_reward charts/episodic_return episode_reward"
    " Environment/Cumulative_Reward Policy/Extrinsic_Reward rollout/success_rate",
    Role.LOSS_WEIGHT: "beta train/beta vae/beta kl_weight train/kl_coeff kld_weight kl_anneal",
    Role.RL_LOSS: "train/value_loss Losses/Value_Loss policy_loss train/policy_gradient_loss"
    " train/entropy_loss actor_loss losses/qf1_loss",
    Role.GAN_LOSS: "loss_G loss_D d_loss g_loss D/loss_real D/loss G/loss generator_loss errD"
    " discriminator/loss G_GAN GAN_loss netD_loss",
    Role.TRAIN_METRIC: "acc train_acc accuracy train/epoch_accuracy Accuracy/train train_ppl"
    " train_BinaryF1Score epoch_mse quant_error fast_rcnn/cls_accuracy",
    Role.VAL_METRIC: "val_acc eval/accuracy Accuracy/test valAcc bbox/AP metrics/mAP_0.5 test_wer"
    " eval_top1 val_mIoU validation/epoch_mse metrics/precision wer FID",
}


def _known(tag: str) -> Meaning:
    found = meaning(tag)
    assert found is not None, tag
    return found


@pytest.mark.parametrize("tag", [*MAIN_TRAIN.split(), "training loss", "lm loss", "Train Loss"])
def test_the_main_training_loss_is_known_in_every_framework(tag: str) -> None:
    assert _known(tag) == Meaning(Role.TRAIN_LOSS, Better.LOWER, "loss", main=True)


@pytest.mark.parametrize("tag", [*MAIN_VAL.split(), "lm loss validation vs samples"])
def test_the_main_validation_loss_is_known_in_every_framework(tag: str) -> None:
    assert _known(tag) == Meaning(Role.VAL_LOSS, Better.LOWER, "loss", main=True)


@pytest.mark.parametrize("tag", COMPONENTS.split())
def test_a_component_is_a_loss_but_not_the_main_one(tag: str) -> None:
    found = _known(tag)
    assert found.role is Role.TRAIN_LOSS
    assert not found.main


@pytest.mark.parametrize("tag", [*NOTHING.split(), "", "损失", "/", "1. Autoencoder training/"])
def test_what_is_not_to_be_judged_has_no_role(tag: str) -> None:
    assert meaning(tag) is None


@pytest.mark.parametrize(
    ("role", "tag"), [(role, tag) for role, tags in OTHERS.items() for tag in tags.split()]
)
def test_other_series_have_their_role(role: Role, tag: str) -> None:
    assert _known(tag).role is role


@pytest.mark.parametrize(
    ("tag", "better"),
    [("val_acc", "higher"), ("eval/rougeL", "higher"), ("val_psnr", "higher"), ("wer", "lower"),
     ("eval_perplexity", "lower"), ("val/rmse", "lower"), ("ep_rew_mean", "higher"),
     ("test_error", "lower"), ("val_R2", "higher")],
)  # fmt: skip
def test_a_metric_knows_which_way_it_improves(tag: str, better: str) -> None:
    assert _known(tag).better == better


@pytest.mark.parametrize(
    ("one", "other"),
    [("train/box_loss", "val/box_loss"), ("Loss/train", "Loss/test"), ("loss", "epoch_val_loss"),
     ("train/1. Pre-training autoencoder/1. Recovery loss",
      "test/1. Pre-training autoencoder/1. Recovery loss"),
     ("train_loss_epoch", "val_loss"), ("loss_cls_train", "loss_cls_val"),
     ("metrics/train/CrossEntropy", "metrics/eval/CrossEntropy")],
)  # fmt: skip
def test_the_stem_pairs_the_two_sides(one: str, other: str) -> None:
    assert _known(one).stem == _known(other).stem
    assert {_known(one).role, _known(other).role} == {Role.TRAIN_LOSS, Role.VAL_LOSS}


@settings(max_examples=200)
@given(st.text())
def test_any_text_is_read_without_error_and_always_the_same(tag: str) -> None:
    assert meaning(tag) == meaning(tag)


# ------------------------------------------------------------------------------- whole runs


def test_in_reinforcement_learning_every_loss_follows_the_reward() -> None:
    tags = ["rollout/ep_rew_mean", "train/loss", "train/value_loss", "eval/mean_reward"]
    assert traits(tags) == Traits(reinforcement=True)
    assert assign(tags)["train/loss"].role is Role.RL_LOSS


def test_policy_with_value_loss_is_reinforcement_even_before_a_reward() -> None:
    assert traits(["Losses/Policy Loss", "Losses/Value Loss"]).reinforcement
    assert not traits(["train/loss", "rewards/chosen", "rewards/margins"]).reinforcement


def test_one_letter_losses_are_adversarial_only_as_a_pair() -> None:
    assert traits(["loss_G", "loss_D", "FID"]).adversarial
    assert assign(["loss_G", "loss_D"])["loss_D"].role is Role.GAN_LOSS
    assert not traits(["loss_2d", "loss_3d"]).adversarial
    assert assign(["loss_d"])["loss_d"].role is Role.TRAIN_LOSS


def test_an_autoencoder_beside_a_gan_keeps_its_loss() -> None:
    found = assign(["3. GAN/1. Supervised loss", "3. TimeGAN training - Autoencoder/1. loss"])
    assert [m.role for m in found.values()] == [Role.GAN_LOSS, Role.TRAIN_LOSS]


def test_an_error_stands_in_where_no_loss_is_logged() -> None:
    assert assign(["train-rmse", "eval-rmse"])["eval-rmse"].role is Role.VAL_LOSS
    assert assign(["train-rmse", "loss"])["train-rmse"].role is Role.TRAIN_METRIC
    assert assign(["val_acc"])["val_acc"].role is Role.VAL_METRIC


def test_pins_override_names_and_take_the_main_place() -> None:
    pins = [Pin("x/*", Role.VAL_LOSS), Pin("noise", None), Pin("val_score", better=Better.LOWER)]
    found = assign(["x/quality", "val_loss", "noise_loss", "noise", "val_score"], pins)
    assert found["x/quality"] == Meaning(Role.VAL_LOSS, Better.LOWER, "quality", main=True)
    assert not found["val_loss"].main
    assert found["val_score"].better is Better.LOWER
    assert assign(["train_loss"], [Pin("train_*")]) == {}


# ------------------------------------------------------------------------------- rules' inputs


def _inputs(
    points: dict[str, int], selectors: dict[str, Selector], every: bool = False
) -> dict[str, dict[str, str]]:
    trigger = next(iter(selectors))
    bindings = Pool(assign(points), points).bind(selectors, [trigger], trigger, every=every)
    return {b.subject: b.inputs for b in bindings}


def test_only_the_main_loss_is_judged_where_there_is_one() -> None:
    points = {"total_loss": 9, "loss_cls": 9, "loss_box": 9}
    assert _inputs(points, {"value": TRAIN}) == {"loss": {"value": "total_loss"}}
    assert set(_inputs(points, {"value": TRAIN}, every=True)) == set(points)


def test_components_are_judged_side_by_side_where_there_is_no_main_loss() -> None:
    points = {f"{s}/{c}_loss": 5 for s in ("train", "val") for c in ("box", "cls")}
    assert _inputs(points, {"val": VAL, "train": TRAIN}) == {
        "box_loss": {"val": "val/box_loss", "train": "train/box_loss"},
        "cls_loss": {"val": "val/cls_loss", "train": "train/cls_loss"},
    }


def test_beside_validation_the_epoch_mean_is_taken_and_alone_the_finer_series() -> None:
    points = {"train_loss_step": 200, "train_loss_epoch": 9, "val_loss": 9, "test_loss": 1}
    pair = {"val": "val_loss", "train": "train_loss_epoch"}
    assert _inputs(points, {"val": VAL, "train": TRAIN}) == {"loss": pair}
    assert _inputs(points, {"value": TRAIN}) == {"loss": {"value": "train_loss_step"}}
    short = {"train_loss_step": 20, "train_loss_epoch": 500}
    assert _inputs(short, {"value": TRAIN}) == {"loss": {"value": "train_loss_epoch"}}


def test_a_closing_summary_is_not_the_loss() -> None:
    points = {"train/train_loss": 1, "train/loss": 1}
    assert _inputs(points, {"value": TRAIN}) == {"loss": {"value": "train/loss"}}


def test_a_validation_set_of_its_own_is_paired_with_the_main_training_loss() -> None:
    points = {"train_loss": 9, "val_loss/dataloader_idx_0": 9, "val_loss/dataloader_idx_1": 9}
    found = _inputs(points, {"val": VAL, "train": TRAIN})
    assert [i["train"] for i in found.values()] == ["train_loss"] * 2


def test_a_component_is_not_compared_with_another_component() -> None:
    points = {"train/box_loss": 9, "val/box_loss": 9, "val/cls_loss": 9}
    selectors = {"val": VAL, "train": TRAIN}
    bound = Pool(assign(points), points).bind(selectors, ["val", "train"], "val")
    assert [b.subject for b in bound] == ["box_loss"]


def test_auxiliary_inputs_are_the_runs_one_best_series() -> None:
    points = {"loss": 9, "x/lr0": 9, "x/lr1": 9, "val_char_acc": 9, "val_acc": 9, "grad_norm": 9}
    roles = (Role.LEARNING_RATE, Role.VAL_METRIC, Role.GRAD_NORM, Role.EPOCH)
    selectors = {"value": TRAIN} | {r.value: Selector(role=r) for r in roles}
    assert _inputs(points, selectors)["loss"] == {
        **{"value": "loss", "learning_rate": "x/lr0"},
        **{"val_metric": "val_acc", "grad_norm": "grad_norm"},
    }


def test_a_trigger_of_which_a_run_has_one_is_named_by_its_role() -> None:
    points = {"tokens_per_sec": 9, "steps_per_sec": 9}
    selectors = {"value": Selector(role=Role.THROUGHPUT)}
    assert _inputs(points, selectors) == {"throughput": {"value": "steps_per_sec"}}


def test_a_tag_glob_gives_one_binding_for_each_tag() -> None:
    points = {"Loss/val/a": 3, "Loss/val/b": 3, "Loss/train/b": 3, "temperature": 5}
    found = _inputs(points, {"val": Selector(tag="Loss/val*"), "train": TRAIN})
    assert found["Loss/val/b"] == {"val": "Loss/val/b", "train": "Loss/train/b"}
    assert found["Loss/val/a"] == {"val": "Loss/val/a"}
    assert "temperature" in _inputs(points, {"value": Selector(tag="temp*")})


def test_a_binding_without_a_required_input_is_left_out() -> None:
    points = {"val_loss": 9}
    assert (
        Pool(assign(points), points).bind({"val": VAL, "train": TRAIN}, ["val", "train"], "val")
        == []
    )
    assert Pool(assign(points), points).bind({"val": VAL}, ["train", "val"], "train") == []


UNRELATED = st.sampled_from(
    [*NOTHING.split(), *(t for r in (Role.LEARNING_RATE, Role.TRAIN_METRIC, Role.THROUGHPUT)
                         for t in OTHERS[r].split()),
     "train/box_loss", "val/cls_loss", "loss_rpn", "val_acc", "temperature", "foo/bar"]
)  # fmt: skip


@given(
    st.sampled_from([{"train_loss": 50, "val_loss": 5}, {"loss": 9, "epoch_val_loss": 9},
                     {"train_loss_step": 50, "train_loss_epoch": 5, "val_loss": 5}]),
    st.dictionaries(UNRELATED, st.integers(1, 10**6), max_size=8),
    st.integers(1, 50),
)  # fmt: skip
def test_unrelated_tags_and_growth_do_not_change_a_binding(
    run: dict[str, int], more: dict[str, int], factor: int
) -> None:
    grown = {tag: n * factor for tag, n in run.items()} | more
    for selectors in ({"value": TRAIN}, {"val": VAL, "train": TRAIN}):
        assert _inputs(run, selectors) == _inputs(grown, selectors)


# ------------------------------------------------------------------------------- labelled logs

# rows whose series is not bound as a training or validation loss, and why that is right
NOT_JUDGED = {
    "mlagents-snake/": "reinforcement learning",
    "sb3-": "reinforcement learning",
    "add-scalars-hpc/logs/train_info/loss/loss_rgbd_seg": "a component of loss_all",
    "add-scalars-hpc/logs/train_info/loss/loss_target": "a component of loss_all",
    "add-scalars-hpc/logs/train_info/train_acc": "an accuracy",
    "tb-reducer/tests/runs/duplicate_steps": "no loss: foo and bar",
    "tf1-chess/model/eval": "the row names an evaluation as the training side",
    "timegan/logs/20200528-143418": "its name says nothing",
    "timegan/logs/Normal_training": "the row names a loss of the GAN",
}


def _scalar_tags(directory: Path) -> Counter[str]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    count: Counter[str] = Counter()
    for file in sorted(directory.glob("*tfevents*")):
        try:
            for event in EventFileLoader(str(file)).Load():
                values = [v for v in event.summary.value if v.tensor.dtype == 1]
                count.update(v.tag for v in values if make_ndarray(v.tensor).size == 1)
        except Exception:  # noqa: BLE001 - a damaged file: what came before it counts
            continue
    return count


def test_the_labelled_logs_get_the_series_a_person_chose(shared_dir: Path) -> None:
    corpus = shared_dir / "corpus"
    if not corpus.is_dir():
        pytest.skip("needs the labelled logs in ../shared/corpus")
    places: dict[str, Place] = {}
    runs: dict[str, dict[str, int]] = defaultdict(dict)
    for directory in {f.parent for f in corpus.rglob("*tfevents*") if "_growth" not in f.parts}:
        name = directory.relative_to(corpus).as_posix()
        tags = _scalar_tags(directory)
        where = places[name] = place(name, tags)
        runs[where.run] |= {where.prefix + tag: n for tag, n in tags.items()}
    missed = []
    for row in csv.DictReader((corpus / "labels.csv").read_text().splitlines()):
        if not row["train_tag"] or row["run"].startswith(tuple(NOT_JUDGED)):
            continue
        at = places.get(row["run"], Place(row["run"], ""))
        train, val = (
            tag.replace("::", "/") if "::" in tag else at.prefix + tag
            for tag in (row["train_tag"], row["val_tag"])
        )
        wanted = {"val": val, "train": train} if row["val_tag"] else {"train": train}
        found = _inputs(runs[at.run], {n: VAL if n == "val" else TRAIN for n in wanted})
        if wanted not in found.values():
            missed.append((row["run"], wanted, found))
    assert missed == []


def test_a_run_that_logs_parts_of_its_loss_and_no_sum_is_told() -> None:
    assert traits(["train/box_loss", "train/cls_loss", "val/box_loss", "val/cls_loss"]).parts
    assert not traits(["train/loss", "train/box_loss", "train/cls_loss", "val/loss"]).parts
    assert not traits(["train/box_loss", "val/box_loss"]).parts


def test_a_loss_that_is_pinned_is_the_whole() -> None:
    tags = ["train/box_loss", "train/cls_loss", "val/box_loss", "val/cls_loss"]
    pins = [Pin("train/cls_loss", Role.TRAIN_LOSS), Pin("val/cls_loss", Role.VAL_LOSS)]
    assert not traits(tags, pins).parts


def test_the_rule_of_a_metric_knows_of_the_only_loss_beside_it():
    points = {"train-logloss": 50, "valid-logloss": 50, "valid-error": 50}
    rules = [rule for rule in default_rules() if rule.alert == "ValidationMetricFalls"]
    (found,) = subjects(rules, assign(points, ()), points)
    assert found.tags["instead"] == "valid-logloss"
