"""The study: what is trained, on what data, by whom, for how many rounds."""

from common.study.augmentation import Augmentation
from common.study.data import Data, Window
from common.study.federation import MEAN_STRATEGIES, Federation
from common.study.head import Head
from common.study.loading import Setting, load_study, parse_study, settings
from common.study.model import Model
from common.study.privacy import Privacy, SitePrivacy
from common.study.section import Section
from common.study.sections import Study
from common.study.sequence import (
    Frames,
    Patches,
    PictureSequence,
    Rows,
    Sequence,
    Slices,
    Steps,
    Variable,
    Views,
)
from common.study.strategies import STRATEGY_NAMES, StrategyChoice
from common.study.training import Training
from common.study.writing import digest, from_canonical, template, to_canonical, to_toml

__all__ = [
    "STRATEGY_NAMES",
    "MEAN_STRATEGIES",
    "Augmentation",
    "Data",
    "Federation",
    "Frames",
    "Head",
    "Model",
    "Patches",
    "PictureSequence",
    "Privacy",
    "Rows",
    "Section",
    "Sequence",
    "Setting",
    "SitePrivacy",
    "Slices",
    "Steps",
    "StrategyChoice",
    "Study",
    "Training",
    "Variable",
    "Views",
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
