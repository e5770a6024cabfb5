"""What a task's model has to beat: simple methods that somebody would take instead."""
