"""Names of headers that more than one floor knows: rules judge by them, and rows keep what they say."""

TAGGING = "x-amz-tagging"
"""The tags of an object; the member of a change that holds them is called so, too."""
METADATA = "x-amz-meta-"
"""What the names of user metadata begin with."""
TAG_COUNT = "x-amz-tagging-count"
"""How many tags an object has, in an answer to who may know."""
MAX_REMEMBERED = 32
"""Lists of names of which is remembered what they say: a client sends the same ones with each of its requests."""
