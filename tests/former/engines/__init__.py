"""Session engines that sites write themselves: each module is one."""
