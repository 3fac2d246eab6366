"""What pydantic says of a value that does not fit, in words that tell a person what to type."""

from pydantic_core import ErrorDetails

# By the type of the error, as pydantic lists them in "Validation Errors"; braces are filled from its context.
_SHOULD_BE = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text, in quotes",
    "string_too_short": "text of {min_length} or more letters",
    "string_too_long": "text of {max_length} letters at most",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "dict_type": "a section with keys of its own",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "list_type": "a list, in brackets",
    "tuple_type": "a list, in brackets",
    "too_short": "at least {min_length} long, and is {actual_length}",
    "too_long": "at most {max_length} long, and is {actual_length}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
}


def should_be(error: ErrorDetails) -> str:
    """The claim of one error, as in "it should be at most 1", without an end mark."""
    if claim := _SHOULD_BE.get(error["type"]):
        context = {name: f"{v:g}" if isinstance(v, float) else v for name, v in error.get("ctx", {}).items()}
        return f"it should be {claim.format(**context)}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    return message.replace("Input should", "it should", 1)
