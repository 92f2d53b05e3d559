"""A site whose sessions move all at once while its visitors are busy."""
