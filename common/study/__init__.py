"""The study: what is trained, on what data, by whom, for how many rounds."""

from common.study.loading import Setting, load_study, parse_study, settings
from common.study.privacy import Privacy, SitePrivacy
from common.study.sections import (
    Federation,
    Frames,
    Model,
    Patches,
    PictureSequence,
    Rows,
    Section,
    Slices,
    Steps,
    Study,
    Training,
    Variable,
    Window,
)
from common.study.strategies import STRATEGY_NAMES, StrategyChoice
from common.study.writing import digest, from_canonical, template, to_canonical, to_toml

__all__ = [
    "STRATEGY_NAMES",
    "Federation",
    "Frames",
    "Model",
    "Patches",
    "PictureSequence",
    "Privacy",
    "Rows",
    "Section",
    "Setting",
    "SitePrivacy",
    "Slices",
    "Steps",
    "StrategyChoice",
    "Study",
    "Training",
    "Variable",
    "Window",
    "digest",
    "from_canonical",
    "load_study",
    "parse_study",
    "settings",
    "template",
    "to_canonical",
    "to_toml",
]
