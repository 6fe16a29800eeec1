"""What every command is for, in a line: the overview waits for no command to be imported."""

from __future__ import annotations

SUMMARIES = {
    "demo": "Judge a real study, then train on made images, in a minute.",
    "prepare": "Turn a dataset's files into a prepared store.",
    "info": "Say what a store, a trained model or a network is; draw a store's contact sheet.",
    "verify": "Check a dataset's files or a store; say what is wrong and how to mend it.",
    "xray": "See what losses do, in seconds, without training.",
    "score": "Score folders of predicted masks against a folder of true masks.",
    "compare": "Compare methods: train them on a store, or judge masks, tables or nnU-Net.",
    "plan": "Plan a study: the seeds and cases that would show a difference.",
    "study": "Carry out a recipe: a table of the paper, or a study of your own.",
    "train": "Train one method on a store.",
    "evaluate": "Score a trained run on a split of a store.",
    "predict": "Predict masks for images, volumes or DICOM series.",
    "explain": "Draw what a network looks at, and what the spectra of its masks and data hold.",
    "export": "Write a trained model in a form that others read or run.",
    "study_ensembles": "Combine the seeds of a study into an ensemble per method, and score it.",
    "study_report": "Write tables, figures and report of a study anew, from its finished runs.",
    "study_status": "Say how far a study is, what has failed, and about how long it still takes.",
}
