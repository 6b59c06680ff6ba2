"""Known-bad ways to call or write a loss, each with the sentence that puts a learner right."""
