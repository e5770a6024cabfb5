"""The recurrences of GRU, LSTM and RNN, each as one scan through time and one back."""

from common.private.scans.course import Course, Packing
from common.private.scans.gru import GRUCell
from common.private.scans.lstm import LSTMCell
from common.private.scans.recurrence import Cell, Recurrence, Weights
from common.private.scans.rnn import RNNCell

__all__ = ["Cell", "Course", "GRUCell", "LSTMCell", "Packing", "RNNCell", "Recurrence", "Weights"]
