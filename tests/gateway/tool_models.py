"""Tiny models that call tools: chat templates in the manner of Qwen's and Llama's."""

from __future__ import annotations

HERMES_TEMPLATE = """\
{%- if tools %}
    {{- '<|system|># Tools\\n<tools>' }}
    {%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}
    {{- '\\n</tools>\\nSay <tool_call>\\n{"name": <name>, "arguments": <args-json>}\\n</tool_call><|turn_end|>' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|' + ('user' if message.role == 'tool' else message.role) + '|>' }}
    {%- if message.role == 'tool' %}{{ '<tool_response>' + message.content + '</tool_response>' }}
    {%- elif message.content %}{{ message.content }}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
        {{- (call.function.arguments | tojson) + '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|turn_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""

LLAMA_TEMPLATE = """\
{{- bos_token }}
{%- if tools is not none %}
    {{- '<|system|>Respond in the format {"name": function name, "parameters": dictionary of argument names}.' }}
    {%- for tool in tools %}{{ tool | tojson(indent=4) }}{% endfor %}
    {{- '<|turn_end|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|assistant|>{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + '}<|turn_end|>' }}
    {%- else %}
        {{- '<|' + ('user' if message.role == 'tool' else message.role) + '|>' + message['content'] + '<|turn_end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""
