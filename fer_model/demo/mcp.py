"""Gradio's MCP server, with its faults mended (6.31), and files that are named by an address of this server.

Both lean on Gradio's inside: docs/demo.md#gradios-internals
"""

import json
import os
from pathlib import Path
from urllib.parse import quote, unquote

import gradio as gr
from gradio.processing_utils import save_base64_to_cache
from gradio.utils import get_upload_folder

from fer_model.demo.guard import NO_ADDRESS
from fer_model.errors import ImageError

_OWN_ADDRESS = "/gradio_api/file="


def take_addresses(component: gr.components.Component) -> None:
    """Let a file be named by the address under which this server hands it out.

    So MCP clients name what they have uploaded (`gradio upload-mcp`), and Gradio would refuse to fetch it from an
    address of the own machine. What lies there may be fetched by anyone who knows the address.
    """
    move = component.async_move_resource_to_block_cache

    async def moved(file: str | Path | None) -> str | None:
        if not str(file).startswith(("http://", "https://")):
            return await move(file)
        _, own, name = str(file).partition(_OWN_ADDRESS)
        path = Path(unquote(name)).resolve()
        if own and path.is_relative_to(Path(get_upload_folder()).resolve()) and path.is_file():
            return await move(str(path))
        raise gr.Error(NO_ADDRESS, print_exception=False)

    # of this one component alone: docs/demo.md#gradios-internals
    component.async_move_resource_to_block_cache = moved  # type: ignore[method-assign, assignment]


class Tools(gr.mcp.GradioMCPServer):
    """Each method mends one fault of Gradio's (6.31): docs/demo.md#gradios-internals"""

    def get_input_schema(self, tool_name: str, parameters: dict[str, str] | None = None) -> tuple[dict, list]:
        """Let `null` be given for the default version."""
        schema, files = super().get_input_schema(tool_name, parameters)
        for name, part in schema["properties"].items():
            part.pop("additional_description", None)
            if name == "version":
                part["type"] = ["string", "null"]
            if "format" in part and "url" in part["format"]:
                part["format"] = "the address of an uploaded file on this server, or a data: address"
        return schema, files

    async def _execute_tool_without_progress(self, job) -> list:
        """Several answers as several: Gradio makes one text of them, unless the client wants to see the progress."""
        (answers,) = await super()._execute_tool_without_progress(job)
        return list(answers) if isinstance(answers, tuple) else [answers]

    def convert_strings_to_filedata(self, value: dict, filedata_positions: list) -> dict:
        """Files in data: addresses as uploads: Gradio makes a copy of each first, which it never deletes."""
        value = {
            name: self._uploaded(text) if [name] in filedata_positions and str(text).startswith("data:") else text
            for name, text in value.items()
        }
        return super().convert_strings_to_filedata(value, filedata_positions)

    def postprocess_output_data(self, data: list, root_url: str) -> list:
        """Answers as JSON: Gradio writes them as Python does."""
        data = [json.dumps(part) if isinstance(part, dict) and "path" not in part else part for part in data]
        return super().postprocess_output_data(data, root_url)

    def _uploaded(self, address: str) -> str:
        content = address.partition(",")[2]
        size = len(content) * 3 // 4 - content[-2:].count("=")
        if self.blocks.max_file_size and size > self.blocks.max_file_size:
            raise ImageError(f"The file is too large; at most {self.blocks.max_file_size // 2**20} MB are taken.")
        try:
            path = save_base64_to_cache(address, get_upload_folder())
        except ValueError as error:
            raise ImageError("That data: address holds no base64.") from error
        os.utime(path)  # it may have been there, and is to be deleted after this answer
        self.blocks.upload_file_set.add(path)  # else Gradio refuses it: docs/demo.md#gradios-internals
        return f"http://localhost{_OWN_ADDRESS}{quote(path)}"
